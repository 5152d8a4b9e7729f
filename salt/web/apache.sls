{% from 'web/map.jinja' import fpm with context %}
include:
  - web.packages

web-apache-modules-enabled:
  file.symlink:
    - names:
{%- for module in ['proxy.load', 'proxy.conf', 'proxy_fcgi.load'] %}
      - /etc/apache2/mods-enabled/{{ module }}:
        - target: ../mods-available/{{ module }}
{%- endfor %}
    - require:
      - pkg: web-packages-installed

web-apache-default-absent:
  file.absent:
    - name: /etc/apache2/sites-enabled/000-default.conf
    - require:
      - pkg: web-packages-installed

web-apache-configured:
  file.managed:
    - template: jinja
    - context:
        host: {{ pillar.cluster.moodle.url.split('/')[2] }}
        socket: /run/php/{{ fpm }}.sock
    - names:
      - /etc/apache2/conf-enabled/workers.conf:
        - source: salt://web/files/workers.conf
      - /etc/apache2/sites-enabled/moodle.conf:
        - source: salt://web/files/moodle.conf
    - require:
      - pkg: web-packages-installed

web-apache-running:
  service.running:
    - name: apache2
    - enable: True
    - reload: True
    - watch:
      - file: web-apache-modules-enabled
      - file: web-apache-default-absent
      - file: web-apache-configured
