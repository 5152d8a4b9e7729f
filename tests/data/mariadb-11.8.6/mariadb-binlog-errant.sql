/*!50530 SET @@SESSION.PSEUDO_SLAVE_MODE=1*/;
/*!40019 SET @@session.max_delayed_threads=0*/;
/*!50003 SET @OLD_COMPLETION_TYPE=@@COMPLETION_TYPE,COMPLETION_TYPE=0*/;
DELIMITER /*!*/;
# at 4
#261122 18:12:10 server id 3232238098  end_log_pos 256 CRC32 0x02161e05 	Start: binlog v 4, server v 11.8.6-MariaDB-0+deb13u1 from Debian-log created 261122 18:12:10 at startup
# Warning: this binlog is either in use or was not closed properly.
ROLLBACK/*!*/;
BINLOG '
ejADaw8SCqjA/AAAAAABAAABAAQAMTEuOC42LU1hcmlhREItMCtkZWIxM3UxIGZyb20gRGViaWFu
LWxvZwAAAAAAAAAAAAB6MANrEzgNAAgAEgAEBAQEEgAA5AAEGggAAAAICAgCAAAACgoKAAAAAAAA
CgoKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
AAAAAAAAAAAEEwQADQgICAoKCgEFHhYC
'/*!*/;
# at 256
#261122 18:12:10 server id 3232238098  end_log_pos 299 CRC32 0xb2b27004 	Gtid list [0-3232238098-388]
# at 299
#261122 18:12:10 server id 3232238098  end_log_pos 339 CRC32 0x188b2277 	Binlog checkpoint binlog.000002
# at 37186
#261122 18:17:33 server id 3232238098  end_log_pos 37228 CRC32 0xe43fbb70 	GTID 0-3232238098-562 trans thread_id=65
/*M!100101 SET @@session.skip_parallel_replication=0*//*!*/;
/*M!100001 SET @@session.gtid_domain_id=0*//*!*/;
/*M!100001 SET @@session.server_id=3232238098*//*!*/;
/*M!100001 SET @@session.gtid_seq_no=562*//*!*/;
START TRANSACTION
/*!*/;
# at 37228
# at 37280
#261122 18:17:33 server id 3232238098  end_log_pos 0 CRC32 0x3a62ee60 	Annotate_rows:
#Q> insert into a values(4000002)
#261122 18:17:33 server id 3232238098  end_log_pos 0 CRC32 0x6bb30fe0 	Table_map: `moodle`.`a` mapped to number 19
# at 37326
#261122 18:17:33 server id 3232238098  end_log_pos 0 CRC32 0x83c15f58 	Write_rows: table id 19 flags: STMT_END_F

BINLOG '
vTEDaxMSCqjALgAAAAAAAAAAABMAAAAAAAEABm1vb2RsZQABYQABAwAA4A+zaw==
vTEDaxcSCqjAJgAAAAAAAAAAABMAAAAAAAEAAQH+Agk9AFhfwYM=
'/*!*/;
### INSERT INTO `moodle`.`a`
### SET
###   @1=4000002
# Number of rows: 1
# at 37364
#261122 18:17:33 server id 3232238098  end_log_pos 37395 CRC32 0x0c9ef021 	Xid = 599
COMMIT/*!*/;
# at 37395
#261122 18:17:33 server id 3232238098  end_log_pos 37437 CRC32 0x6ad2c449 	GTID 0-3232238098-563 trans thread_id=66
/*M!100001 SET @@session.gtid_seq_no=563*//*!*/;
START TRANSACTION
/*!*/;
# at 37437
# at 37489
#261122 18:17:33 server id 3232238098  end_log_pos 0 CRC32 0x2379df21 	Annotate_rows:
#Q> insert into a values(4000003)
#261122 18:17:33 server id 3232238098  end_log_pos 0 CRC32 0x6bb30fe0 	Table_map: `moodle`.`a` mapped to number 19
# at 37535
#261122 18:17:33 server id 3232238098  end_log_pos 0 CRC32 0x3b7d383d 	Write_rows: table id 19 flags: STMT_END_F

BINLOG '
vTEDaxMSCqjALgAAAAAAAAAAABMAAAAAAAEABm1vb2RsZQABYQABAwAA4A+zaw==
vTEDaxcSCqjAJgAAAAAAAAAAABMAAAAAAAEAAQH+Awk9AD04fTs=
'/*!*/;
### INSERT INTO `moodle`.`a`
### SET
###   @1=4000003
# Number of rows: 1
# at 37573
#261122 18:17:33 server id 3232238098  end_log_pos 37604 CRC32 0x9b4a1397 	Xid = 602
COMMIT/*!*/;
DELIMITER ;
DELIMITER /*!*/;
# at 4
#261122 18:17:49 server id 3232238098  end_log_pos 256 CRC32 0xaf6f6532 	Start: binlog v 4, server v 11.8.6-MariaDB-0+deb13u1 from Debian-log created 261122 18:17:49 at startup
# Warning: this binlog is either in use or was not closed properly.
ROLLBACK/*!*/;
BINLOG '
zTEDaw8SCqjA/AAAAAABAAABAAQAMTEuOC42LU1hcmlhREItMCtkZWIxM3UxIGZyb20gRGViaWFu
LWxvZwAAAAAAAAAAAADNMQNrEzgNAAgAEgAEBAQEEgAA5AAEGggAAAAICAgCAAAACgoKAAAAAAAA
CgoKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
AAAAAAAAAAAEEwQADQgICAoKCgEyZW+v
'/*!*/;
# at 256
#261122 18:17:49 server id 3232238098  end_log_pos 315 CRC32 0xa829a3be 	Gtid list [0-3232238108-513,
# 0-3232238098-563]
# at 315
#261122 18:17:49 server id 3232238098  end_log_pos 355 CRC32 0x604807d5 	Binlog checkpoint binlog.000003
DELIMITER ;
# End of log file
ROLLBACK /* added by mysqlbinlog */;
/*!50003 SET COMPLETION_TYPE=@OLD_COMPLETION_TYPE*/;
/*!50530 SET @@SESSION.PSEUDO_SLAVE_MODE=0*/;
/*!100001 SET @@SESSION.SERVER_ID=@@GLOBAL.SERVER_ID */;
/*!100001 SET @@SESSION.GTID_DOMAIN_ID=@@GLOBAL.GTID_DOMAIN_ID */;
