def page_of(rows, machine, left): return ""
