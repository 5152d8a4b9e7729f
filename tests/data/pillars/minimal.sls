# Two servers and nothing else: no third machine to ask, no second disk for the database, no
# router to the outside, no time servers. A human confirms a death.
cluster:
  networks:
    public: {gateway: null}
  vms:
    witness: null
  arbiter: {driver: operator, members: []}
  database: {device: null}
  moodle:
    source: {directory: null, archive: /srv/moodle-5.0.tgz}
  time: {servers: []}
