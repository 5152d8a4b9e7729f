# Passwords that break careless quoting: merged over generated secrets by the tests.
secrets:
  database:
    moodle: "a'b\"c d$e#f\\g%h;i`j{{k}}<l>&mäöß😀 é"
    replication: " $(in) 'sp' #\"\\ub ß both ends "
  moodle:
    admin: "#%s %d \\n ${HOME} \"ÄÖÜß\" ' 🔑"
  drbd:
    shared: "d'r\"b d$#\\%;{}äöü😀"
