"""What people see: progress while runs go on, and tables of what they gave.

It reads runs and their results; nothing here may change a number.
"""
