"""What a person runs; each file is a program, and a thin one."""
