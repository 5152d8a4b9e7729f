{% from 'web/map.jinja' import fpm with context %}
{%- set https = pillar.cluster.moodle.url.startswith('https:') %}
{%- set tls_modules = ['ssl.load', 'ssl.conf', 'socache_shmcb.load'] %}
include:
  - common.files
  - web.packages

web-apache-modules-enabled:
  file.symlink:
    - names:
{%- for module in ['proxy.load', 'proxy.conf', 'proxy_fcgi.load'] + (tls_modules if https else []) %}
      - /etc/apache2/mods-enabled/{{ module }}:
        - target: ../mods-available/{{ module }}
{%- endfor %}
    - require:
      - pkg: web-packages-installed

web-apache-default-absent:
  file.absent:
    - names:
      - /etc/apache2/sites-enabled/000-default.conf
{%- if not https %}
{%- for module in tls_modules %}
      - /etc/apache2/mods-enabled/{{ module }}
{%- endfor %}
      - /etc/cluster/web.crt
      - /etc/cluster/web.key
{%- endif %}
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
{%- if https %}

# The template reads the secret itself: in a state's arguments it would reach the debug log.
web-apache-certificate-managed:
  file.managed:
    - source: salt://common/files/secret.jinja
    - template: jinja
    - mode: '0600'
    - show_changes: False
    - names:
      - /etc/cluster/web.crt: [{context: {secret: 'web:tls:certificate'}}]
      - /etc/cluster/web.key: [{context: {secret: 'web:tls:key'}}]
    - require:
      - file: common-directories-present
{%- endif %}

web-apache-running:
  service.running:
    - name: apache2
    - enable: True
    - reload: True
    - watch:
      - file: web-apache-modules-enabled
      - file: web-apache-default-absent
      - file: web-apache-configured
{%- if https %}
      - file: web-apache-certificate-managed
{%- endif %}
