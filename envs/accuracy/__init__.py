"""What a plan costs in accuracy: predicted errors, their map to accuracy points, and measured plans."""
