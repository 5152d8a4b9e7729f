# The proper term is pseudo_replica_mode, but we use this compatibility alias
# to make the statement usable on server versions 8.0.24 and older.
/*!50530 SET @@SESSION.PSEUDO_SLAVE_MODE=1*/;
/*!50003 SET @OLD_COMPLETION_TYPE=@@COMPLETION_TYPE,COMPLETION_TYPE=0*/;
DELIMITER /*!*/;
#261122 18:11:33 server id 3232238098  end_log_pos 127 CRC32 0x9cb6880a 	Start: binlog v 4, server v 9.7.4-2 created 261122 18:11:33 at startup
ROLLBACK/*!*/;
BINLOG '
VTADaw8SCqjAewAAAH8AAAAAAAQAOS43LjQtMgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
AAAAAAAAAAAAAAAAAABVMANrEwANAAgAAAAABAAEAAAAYwAEGggAAAAAAAACAAAACgoKKioAEjQA
CigAAAEKiLac
'/*!*/;
#261122 18:11:33 server id 3232238098  end_log_pos 198 CRC32 0xbd0afff1 	Previous-GTIDs
# 25c57be3-e69f-11f1-9b39-4af4012799cb:1-150
#261122 18:17:06 server id 3232238098  end_log_pos 139562 CRC32 0xfc2ddce4 	GTID	last_committed=505	sequence_number=506	rbr_only=no	original_committed_timestamp=1795371426777052	immediate_commit_timestamp=1795371426777052	transaction_length=207
# original_commit_timestamp=1795371426777052 (2026-11-22 18:17:06.777052 UTC)
# immediate_commit_timestamp=1795371426777052 (2026-11-22 18:17:06.777052 UTC)
/*!80001 SET @@session.original_commit_timestamp=1795371426777052*//*!*/;
/*!80014 SET @@session.original_server_version=90704*//*!*/;
/*!80014 SET @@session.immediate_server_version=90704*//*!*/;
SET @@SESSION.GTID_NEXT= '25c57be3-e69f-11f1-9b39-4af4012799cb:577'/*!*/;
#261122 18:17:06 server id 3232238098  end_log_pos 139692 CRC32 0x993d1b4e 	Query	thread_id=71	exec_time=0	error_code=0
use `moodle`/*!*/;
SET TIMESTAMP=1795371426/*!*/;
SET @@session.pseudo_thread_id=71/*!*/;
SET @@session.foreign_key_checks=1, @@session.sql_auto_is_null=0, @@session.unique_checks=1, @@session.autocommit=1/*!*/;
SET @@session.sql_mode=1168113696/*!*/;
SET @@session.auto_increment_increment=1, @@session.auto_increment_offset=1/*!*/;
/*!\C utf8mb4 *//*!*/;
SET @@session.character_set_client=255,@@session.collation_connection=255,@@session.collation_server=224/*!*/;
SET @@session.lc_time_names=0/*!*/;
SET @@session.collation_database=DEFAULT/*!*/;
/*!80011 SET @@session.default_collation_for_utf8mb4=255*//*!*/;
/*!80013 SET @@session.sql_require_primary_key=0*//*!*/;
create table if not exists a(n int primary key)
/*!*/;
#261122 18:17:06 server id 3232238098  end_log_pos 139769 CRC32 0x18159e09 	GTID	last_committed=505	sequence_number=507	rbr_only=no	original_committed_timestamp=1795371426779651	immediate_commit_timestamp=1795371426779651	transaction_length=207
# original_commit_timestamp=1795371426779651 (2026-11-22 18:17:06.779651 UTC)
# immediate_commit_timestamp=1795371426779651 (2026-11-22 18:17:06.779651 UTC)
/*!80001 SET @@session.original_commit_timestamp=1795371426779651*//*!*/;
/*!80014 SET @@session.original_server_version=90704*//*!*/;
/*!80014 SET @@session.immediate_server_version=90704*//*!*/;
SET @@SESSION.GTID_NEXT= '25c57be3-e69f-11f1-9b39-4af4012799cb:578'/*!*/;
#261122 18:17:06 server id 3232238098  end_log_pos 139899 CRC32 0xf6e923c5 	Query	thread_id=72	exec_time=0	error_code=0
SET TIMESTAMP=1795371426/*!*/;
/*!80013 SET @@session.sql_require_primary_key=0*//*!*/;
create table if not exists a(n int primary key)
/*!*/;
#261122 18:17:06 server id 3232238098  end_log_pos 139976 CRC32 0xab849f5a 	GTID	last_committed=505	sequence_number=508	rbr_only=no	original_committed_timestamp=1795371426853291	immediate_commit_timestamp=1795371426853291	transaction_length=207
# original_commit_timestamp=1795371426853291 (2026-11-22 18:17:06.853291 UTC)
# immediate_commit_timestamp=1795371426853291 (2026-11-22 18:17:06.853291 UTC)
/*!80001 SET @@session.original_commit_timestamp=1795371426853291*//*!*/;
/*!80014 SET @@session.original_server_version=90704*//*!*/;
/*!80014 SET @@session.immediate_server_version=90704*//*!*/;
SET @@SESSION.GTID_NEXT= '25c57be3-e69f-11f1-9b39-4af4012799cb:579'/*!*/;
#261122 18:17:06 server id 3232238098  end_log_pos 140106 CRC32 0x2fc859ad 	Query	thread_id=73	exec_time=0	error_code=0
SET TIMESTAMP=1795371426/*!*/;
/*!80013 SET @@session.sql_require_primary_key=0*//*!*/;
create table if not exists a(n int primary key)
/*!*/;
SET @@SESSION.GTID_NEXT= 'AUTOMATIC' /* added by mysqlbinlog */ /*!*/;
#261122 18:17:22 server id 3232238098  end_log_pos 127 CRC32 0x64cf5f68 	Start: binlog v 4, server v 9.7.4-2 created 261122 18:17:22 at startup
# Warning: this binlog is either in use or was not closed properly.
ROLLBACK/*!*/;
BINLOG '
sjEDaw8SCqjAewAAAH8AAAABAAQAOS43LjQtMgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
AAAAAAAAAAAAAAAAAACyMQNrEwANAAgAAAAABAAEAAAAYwAEGggAAAAAAAACAAAACgoKKioAEjQA
CigAAAFoX89k
'/*!*/;
#261122 18:17:22 server id 3232238098  end_log_pos 238 CRC32 0x0ccdf722 	Previous-GTIDs
# 25c57be3-e69f-11f1-9b39-4af4012799cb:1-579,
# 28889eb1-e69f-11f1-9f3b-f6e7a7aa9477:1-79
SET @@SESSION.GTID_NEXT= 'AUTOMATIC' /* added by mysqlbinlog */ /*!*/;
DELIMITER ;
# End of log file
/*!50003 SET COMPLETION_TYPE=@OLD_COMPLETION_TYPE*/;
/*!50530 SET @@SESSION.PSEUDO_SLAVE_MODE=0*/;
