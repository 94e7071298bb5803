"""The inspection station: one service beside the line that teaches parts, inspects, and keeps all that happened.

Everything lies in one folder; `store` owns it. Needs the extra ``station``; nothing else of Blemish imports it.
"""
