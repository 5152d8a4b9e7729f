{% from 'web/map.jinja' import fpm with context %}
web-apache-modules-enabled:
  apache_module.enabled:
    - names: [proxy, proxy_fcgi]
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
      - apache_module: web-apache-modules-enabled

web-apache-running:
  service.running:
    - name: apache2
    - enable: True
    - reload: True
    - watch:
      - file: web-apache-configured
      - file: web-apache-default-absent
      - apache_module: web-apache-modules-enabled
