"""x"""
def claims(results): return []
