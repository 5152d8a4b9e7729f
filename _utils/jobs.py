"""
Salt jobs with a true deadline: publish, then wait for the answer on the master's event bus.

`LocalClient.cmd` would not do: for a target that died it asks around for ``timeout`` and
``gather_job_timeout``, holds up its caller meanwhile, and counts from the last sign of life. Here a
job costs its caller the answer, the deadline, or the moment somebody says that the VM is gone.
"""

import logging
import queue
import threading
import time

import salt.client
import salt.utils.event
import salt.utils.jid

log = logging.getLogger(__name__)

LOOK = 0.25  # seconds between two questions whether the VM is lost meanwhile
REACHED = 3  # seconds between two questions to a silent VM whether the job ever reached it
IDLE = 30  # seconds after which a connection that nobody waits on is closed
PUBLISH = 5  # seconds for the master to take a job over; it is this VM's own


class Jobs:
    """What all threads of one master process share: a client, one connection to the event bus."""

    def __init__(self, opts):
        self.opts = opts
        # Threads share it for `pub` only, which makes a channel of its own for each call.
        self.client = salt.client.LocalClient(mopts=opts)
        self.lock, self.ready, self.used = threading.Lock(), None, 0.0
        self.waiting, self.last = {}, ""

    def post(self, vms, function, arguments):
        """Publish a job whose answer nobody awaits; return its id."""
        return self._publish(vms, function, arguments, self._name())

    def ask(self, vm, function, arguments, deadline, lost=None, published=None):
        """
        Return ``(answer, None)`` or ``(None, what went wrong)``; a VM that said nothing is
        ``(None, None)``. A job that never got there is sent again: the minion had just booted, or
        thawed after its connection ended.

        deadline: Unix seconds; lost: says whether the VM is gone; published: called once the
        job is on its way.
        """
        box, own = queue.SimpleQueue(), []

        def send(name, words):
            own.append(self._name())
            self.waiting[own[-1]] = box
            self._publish([vm], name, words, own[-1])
            return own[-1]

        try:
            self.listen()
            first = send(function, arguments)
            if published:
                published()
            return self._await(box, deadline, lost, first, lambda: send(function, arguments),
                               lambda job: send("saltutil.find_job", {"jid": job}))  # fmt: skip
        finally:
            for jid in own:
                self.waiting.pop(jid, None)

    def listen(self):
        """Connect to the event bus unless there is a connection; return when it hears."""
        with self.lock:
            self.used = time.monotonic()
            if self.ready is None:
                self.ready = threading.Event()
                threading.Thread(target=self._hear, args=(self.ready,), daemon=True).start()
            ready = self.ready
        ready.wait(PUBLISH)

    def _name(self):
        """Return the id of a new job: a time, which two threads might read alike."""
        with self.lock:
            while (jid := salt.utils.jid.gen_jid(self.opts)) == self.last:
                time.sleep(0.000_01)
            self.last = jid
        return jid

    def _publish(self, vms, function, arguments, jid):
        argument = [{**arguments, "__kwarg__": True}] if arguments else []
        self.client.pub(vms, function, argument, tgt_type="list", jid=jid, timeout=PUBLISH)
        return jid

    def _await(self, box, deadline, lost, job, again, question):
        """again: sends the job anew; question: asks the VM about a job; both return an id."""
        ends = time.monotonic() + deadline - time.time()  # a clock that is set changes nothing
        jobs, asked, missing, due = {job}, {}, False, time.monotonic() + REACHED
        while (left := ends - time.monotonic()) > 0:
            try:
                data = box.get(timeout=min(LOOK, left))
                if data["jid"] in jobs:
                    return _judge(data)
                missing = data["return"] == {} and asked.get(data["jid"]) == job
            except queue.Empty:
                if lost and lost():
                    return None, None
                if missing:  # its answer, if there is one, would have come before
                    job, missing, due = again(), False, time.monotonic() + REACHED
                    jobs.add(job)
            if time.monotonic() > due:
                asked[question(job)], due = job, time.monotonic() + REACHED
        return None, None

    def _hear(self, ready):
        """Hand answers to those who wait, until nobody has for a while."""
        try:
            with salt.utils.event.get_event(
                "master", self.opts["sock_dir"], opts=self.opts, listen=True
            ) as bus:
                ready.set()
                self._hand_out(bus, ready)
        except Exception:
            log.exception("the event bus broke off; the next job connects again")
        finally:
            with self.lock:
                if self.ready is ready:
                    self.ready = None
            ready.set()

    def _hand_out(self, bus, ready):
        while True:
            event = bus.get_event(wait=1, tag="salt/job/", full=True)
            data = event["data"] if event else {}
            if box := "return" in data and self.waiting.get(data.get("jid")):
                box.put(data)
            with self.lock:
                if self.waiting:
                    self.used = time.monotonic()
                elif time.monotonic() > self.used + IDLE:
                    self.ready = None
                    return


def _judge(data):
    answer = data["return"]
    if data.get("retcode", 0) == 0 and data.get("success", True):
        return answer, None
    lines = str(answer).strip().splitlines()  # of an exception: its whole traceback
    return None, (lines or ["no reason was given"])[-1]


def client(opts):
    """Return the Jobs of a master with these opts."""
    return Jobs(opts)
