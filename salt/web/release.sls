# The code, its settings, and the page that tells whether it can serve.
include:
  - web.packages

web-folders-present:
  file.directory:
    - names:
      - /srv/moodle/releases
      - /srv/moodle/health
      - /var/cache/moodle:
        - user: www-data
        - group: www-data
        - mode: '0750'
    - makedirs: True
    - require:
      - pkg: web-packages-installed

web-settings-configured:
  moodle.configured:
    - name: /srv/moodle/config.php
    - require:
      - file: web-folders-present

web-health-managed:
  file.managed:
    - mode: '0644'
    - names:
{%- for page in ['alive', 'checks', 'index', 'probe', 'status'] %}
      - /srv/moodle/health/{{ page }}.php:
        - source: salt://web/files/health/{{ page }}.php
{%- endfor %}
    - require:
      - file: web-folders-present

web-release-offered:
  awaited.true:
    - name: a master offers the Moodle release
    - function: release.offered
    - deadline: 600

web-release-deployed:
  release.deployed:
    - name: /srv/moodle
    - require:
      - awaited: web-release-offered
      - moodle: web-settings-configured
