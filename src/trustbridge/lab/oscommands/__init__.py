"""The commands of a lab node's OS command line, over a lab cluster.

Wordings follow the vendor's CLI reference and sessions that engineers published; where neither shows one, it is ours,
and what the driver reads of it is kept tolerant.

    view.py          what a command sees of its node; the table of commands
    shell.py         a command line -> a command
    system.py        releases, nodes, services
    certificates.py  show cert, set cert import and delete
    bulk.py          set cert bulk
    trustlists.py    show itl, show ctl, utils ctl, utils itl
    files.py         file list, file get
    sql.py           run sql
"""
