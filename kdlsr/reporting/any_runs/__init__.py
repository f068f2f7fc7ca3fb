"""Any runs of the store as cells: chosen, named by what differs, held against a baseline, searched.

What a table's file gives a table's report is read off the runs' cards here.
"""
