"""What runs inside the sandbox: it logs in, runs one playbook, and says what happens, line by line.

Orders come as JSON lines on standard input (secrets among them: they are in no argument and in no environment);
answers go as JSON lines to standard output. It decides nothing.
"""
