"""The honest table: our models beside JPEG, WebP and AVIF, picture by picture at equal bytes of real files.

For each picture a rival may spend as many bytes as ours did, and picks its own setting anew: chroma subsampling, full, half or
quarter size, and the best quality that fits; and again for each metric. What it loses by, it loses by at its best.
"""
