# A web VM: Apache 2 and PHP-FPM around one release of Moodle.
include:
  - web.packages
  - web.moodledata
  - web.release
  - web.php
  - web.apache
  - web.cron
