"""What a machine still perceives of decoded signals: tasks by pretrained networks."""
