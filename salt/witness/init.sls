# The third vote, outside both servers: it answers the arbiter's questions and serves nothing.
include:
  - arbiter
