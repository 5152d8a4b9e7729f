# The site is installed once, by the first web VM, as soon as its database and its files are there.
{% if salt['topology.founder']('web') == grains.id
   and not salt['file.file_exists']('/var/lib/cluster/moodle.installed') %}
include:
  - web.release
  - web.moodledata

moodle-database-awaited:
  awaited.true:
    - name: the database answers at {{ pillar.cluster.addresses.database }} with Moodle's account
    - function: moodle.database_answers
    - deadline: 900
    - require:
      - release: web-release-deployed

moodle-data-awaited:
  awaited.true:
    - name: moodledata is mounted from {{ pillar.cluster.addresses.files }}
    - function: moodle.data_mounted
    - deadline: 900
    - require:
      - sls: web.moodledata

moodle-site-installed:
  moodle.installed:
    - name: {{ pillar.cluster.moodle.url }}
    - require:
      - awaited: moodle-database-awaited
      - awaited: moodle-data-awaited
{% endif %}
