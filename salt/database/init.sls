# MySQL or MariaDB, as cluster.database.engine says: its disk, its configuration, its accounts.
# The server starts read-only; who serves and who follows is the business of the module `database`.
include:
  - database.config
  - database.data
  - database.server
