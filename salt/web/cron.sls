include:
  - web.release

web-cron-managed:
  file.managed:
    - names:
      - /etc/systemd/system/moodle-cron.service:
        - source: salt://web/files/moodle-cron.service
      - /etc/systemd/system/moodle-cron.timer:
        - source: salt://web/files/moodle-cron.timer

web-cron-running:
  service.running:
    - name: moodle-cron.timer
    - enable: True
    - require:
      - sls: web.release
    - watch:
      - file: web-cron-managed
