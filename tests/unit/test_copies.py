"""Two balancers, two disks, no third machine: what counts, and what happens when one is away."""

import concurrent.futures
import copy
import json
import shutil
import threading
import time
import unittest.mock

import pytest
from salt.exceptions import CommandExecutionError

from tests import pillars
from tests.loading import load

WORD, LOSE = ({"since": time.time() + 1e6, "why": why} for why in (None, "lose_writes"))


class Balancer:
    """A balancer with a disk; a job to another reaches it unless a link is cut."""

    def __init__(self, name, folder, driver, site):
        self.name, self.site, self.alive = name, site, True
        cluster = pillars.cluster()
        cluster["arbiter"] = {"driver": driver, "members": []}
        self.confirmed, self.fenced, self.age = {}, [], 0
        self.claims = {"files": [1, 2]} if name == "file1" else {}
        salt = {"marks.read": lambda: {"confirmed": self.confirmed},
                "fencing.off": self.fence, "heartbeat.unreachable": self.unreachable,
                "heartbeat.claims": lambda vm: self.site[vm].claims,
                "heartbeat.view": lambda: {"age": self.age},
                "heartbeat.in_reach": lambda vm: not self.unreachable(vm) and not self.site.serial}
        pillar = {"cluster": cluster}
        self.copies = load("_modules/copies.py", salt=salt, pillar=pillar, grains={"id": name})
        self.copies.DIRECTORY, self.copies.RUN = str(folder / "disk"), str(folder / "run")
        self.copies.log = unittest.mock.Mock()  # Salt's keeps records until Python exits
        self.copies.AGAIN, self.folder = 0, folder
        self.copies.__context__["copies.jobs"] = self
        self.arbiter = load("_modules/arbiter.py", pillar=pillar, grains={"id": name},
                            salt={f"copies.{do}": getattr(self.copies, do)
                                  for do in ("get", "put", "founded", "own")})
        self.arbiter.DIRECTORY = self.copies.DIRECTORY

    def unreachable(self, vm):
        return not self.site[vm].alive or (self.site.cut and vm.startswith("lb"))

    def fence(self, vm, silent):
        self.fenced.append(vm)
        if silent and not self.unreachable(vm):
            raise CommandExecutionError(f"{vm} is heard")
        if not self.site.switch:
            raise CommandExecutionError(f"{vm} could not be switched off for certain")
        self.site[vm].alive = False
        return {"device": "pdu1"}

    def ask(self, vm, function, arguments, deadline, lost):
        other = self.site[vm]
        self.site.jobs.append(function)
        if self.site.cut or not other.alive or len(self.site.jobs) > self.site.breaks:
            return None, None
        if function in self.site.broken:
            return None, self.site.broken[function]
        if function == "heartbeat.unreachable":
            return other.unreachable(**arguments), None
        call = getattr(other.copies, function.partition(".")[2])
        return copy.deepcopy(call(**json.loads(json.dumps(arguments)))), None

    def boot(self):
        self.alive = True
        shutil.rmtree(self.folder / "run", ignore_errors=True)


class Site(dict):
    """Two balancers and the VM on which the files are founded."""

    def __init__(self, folder, driver):
        self.cut, self.switch = False, True
        self.jobs, self.breaks = [], 10_000  # jobs until the link breaks
        self.broken = {}  # functions that fail over there
        self.serial = False  # only a serial line hears
        for name in ("lb1", "lb2", "file1"):
            self[name] = Balancer(name, folder / name, driver, self)

    def found(self):
        founder = self["file1"].arbiter
        founder.create("files", "file1")
        assert self["lb1"].arbiter.read("files") is None, "still founding: the founder's alone"
        founder.swap("files", "founded", holder="file1", epoch=1)
        assert self["lb2"].arbiter.read("files")["mirrored"] is True
        return self


@pytest.fixture(params=["operator", "fencing"])
def site(request, tmp_path):
    return Site(tmp_path, request.param).found()


def promote(balancer):
    return balancer.arbiter.swap("files", "promote", holder="file2")["swapped"]


def holders(site):
    return [site[name].copies.own("files")[0] and
            json.loads(site[name].copies.own("files")[0])["holder"] for name in ("lb1", "lb2")]


@pytest.mark.parametrize("name", ["lb1", "lb2"])
def test_a_change_is_on_both_disks(site, name):
    assert promote(site[name])
    assert holders(site) == ["file2", "file2"]
    assert site["lb1"].arbiter.look("files") == site["lb2"].arbiter.look("files")
    other = site["lb2" if name == "lb1" else "lb1"]
    assert other.arbiter.swap("files", "promote", holder="file2")["swapped"] is False


@pytest.mark.parametrize("name", ["lb1", "lb2"])
def test_without_the_other_balancer_nothing_is_granted_until_it_is_dead_for_certain(
    tmp_path, name
):
    site = Site(tmp_path, "operator").found()
    other = "lb2" if name == "lb1" else "lb1"
    site.cut = True
    with pytest.raises(CommandExecutionError, match=f"ha.confirm_dead {other}"):
        promote(site[name])
    site[name].confirmed = {site[name].copies.__pillar__["cluster"]["vms"][other]["server"]: WORD}
    site[other].alive = False
    assert promote(site[name])


def test_under_fencing_the_other_balancer_is_switched_off_first(tmp_path):
    site = Site(tmp_path, "fencing").found()
    site["lb1"].alive = False
    assert promote(site["lb2"])
    assert site["lb2"].fenced == ["lb1"]
    site["lb2"].arbiter.swap("files", "mirrored", holder="file2", epoch=2)
    assert site["lb2"].fenced == ["lb1"], "once is enough until it has come back"


def test_a_switch_that_cannot_be_verified_grants_nothing(tmp_path):
    site = Site(tmp_path, "fencing").found()
    site.cut, site.switch = True, False
    for name in ("lb1", "lb2"):
        with pytest.raises(CommandExecutionError, match="could not be switched off"):
            promote(site[name])


def test_a_balancer_that_comes_back_first_does_not_believe_its_own_disk(site):
    """It would serve from what was true before it died."""
    lb1, lb2 = site["lb1"], site["lb2"]
    lb1.alive = False
    lb2.confirmed = {"lb1": WORD}
    assert promote(lb2)
    lb2.alive = False
    lb1.boot()
    with pytest.raises(CommandExecutionError, match="may be older than those of lb2"):
        lb1.arbiter.read("files")
    lb2.boot()
    assert lb1.arbiter.read("files")["holder"] == "file2"
    assert lb2.arbiter.read("files")["holder"] == "file2"


def both_died(site):
    """lb2 has gone on alone, and is dead; lb1, which knows nothing of it, has booted."""
    lb1, lb2 = site["lb1"], site["lb2"]
    lb1.alive, lb2.confirmed = False, {"lb1": WORD}
    assert lb2.arbiter.swap("files", "serve_alone", holder="file1", epoch=1)["swapped"]
    for _ in range(5):
        assert lb2.arbiter.swap("files", "serve_alone", holder="file1", epoch=1)["swapped"]
    lb2.alive = False
    lb1.boot()
    return lb1, lb2


def test_a_death_does_not_make_a_copy_current(site):
    """file2 would be promoted without what file1 acknowledged alone: lb1 knows it as mirrored."""
    lb1, _ = both_died(site)
    assert lb1.copies.unsure() == "lb2"
    lb1.confirmed = {"lb2": WORD}
    with pytest.raises(CommandExecutionError, match="may be older than those of lb2"):
        promote(lb1)


def test_what_an_operator_gave_up_does_not_come_back_with_who_knew_it(site):
    lb1, lb2 = both_died(site)
    lb1.confirmed = {"lb2": LOSE}
    assert promote(lb1)
    granted = lb1.arbiter.read("files")
    assert (granted["holder"], granted["mirrored"], granted["epoch"] > 2) == ("file2", False, True)
    assert lb1.copies.unsure() is None
    lb1.confirmed = {}
    lb2.boot()
    assert lb2.arbiter.read("files") == lb1.arbiter.read("files") == granted


def test_many_threads_that_go_beyond_what_is_known_go_once(site):
    lb1, _ = both_died(site)
    lb1.confirmed, start = {"lb2": LOSE}, threading.Barrier(8)

    def go(_):
        start.wait()
        return lb1.arbiter.read("files")["epoch"]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(go, range(8))) == {1 + load("_utils/revision.py").BEYOND}


def test_what_a_dead_balancer_wrote_on_its_own_disk_only_is_overruled(site):
    lb1, lb2 = site["lb1"], site["lb2"]
    site.cut, site.switch = True, False
    for _ in range(3):
        with pytest.raises(CommandExecutionError):
            lb1.arbiter.swap("files", "serve_alone", holder="file1", epoch=1)
    lb1.alive, lb2.confirmed = False, {"lb1": WORD}
    assert promote(lb2)
    site.cut = False
    lb1.boot()
    assert lb1.arbiter.read("files")["holder"] == "file2"
    assert holders(site) == ["file2", "file2"]


def test_who_survived_alone_and_reboots_still_knows(site):
    site["lb1"].alive, site["lb2"].confirmed = False, {"lb1": WORD}
    assert promote(site["lb2"])
    site["lb2"].confirmed = {}
    site["lb2"].boot()
    assert site["lb2"].arbiter.read("files")["holder"] == "file2"


def test_once_it_has_come_back_the_other_is_asked_again(site):
    site["lb1"].alive, site["lb2"].confirmed = False, {"lb1": WORD}
    assert promote(site["lb2"])
    site["lb2"].confirmed = {}
    site["lb1"].boot()
    assert site["lb1"].arbiter.read("files")["holder"] == "file2"
    site.cut, site.switch = True, False
    with pytest.raises(CommandExecutionError):
        site["lb2"].arbiter.swap("files", "mirrored", holder="file2", epoch=2)


def test_the_director_and_the_marks_move_on_one_disk_and_the_higher_wins_afterwards(site):
    site["lb1"].arbiter.create("director", "lb1")
    site["lb1"].arbiter.swap("director", "founded", holder="lb1", epoch=1)
    site["lb1"].alive = False
    assert site["lb2"].arbiter.swap("director", "promote", holder="lb2")["swapped"]
    assert site["lb2"].arbiter.store("marks", "{}", 0)
    site["lb1"].boot()
    assert site["lb1"].arbiter.read("director")["holder"] == "lb2"
    assert site["lb1"].arbiter.load("marks")["value"] == "{}"


def served_by_lb1(site):
    site["lb1"].arbiter.create("director", "lb1")
    site["lb1"].arbiter.swap("director", "founded", holder="lb1", epoch=1)


def test_a_director_that_moved_alone_does_not_keep_the_data_from_moving(tmp_path):
    site = Site(tmp_path, "fencing").found()
    served_by_lb1(site)
    site["lb1"].alive = False
    assert site["lb2"].arbiter.swap("director", "promote", holder="lb2")["swapped"]
    assert "director" in site["lb2"].copies._doubted()
    assert site["lb2"].arbiter.read("files")["holder"] == "file1"
    site["file1"].alive = False
    site["lb2"].copies.secure("file1")
    assert site["lb2"].fenced == ["lb1"]
    assert promote(site["lb2"])
    site["lb1"].boot()
    assert site["lb1"].arbiter.read("files")["holder"] == "file2"
    assert site["lb2"].arbiter.read("director")["holder"] == "lb2"
    assert "director" not in site["lb2"].copies._doubted()


def test_a_switch_that_works_at_the_second_try_is_asked_again(tmp_path):
    site = Site(tmp_path, "fencing").found()
    site["lb1"].alive, site.switch = False, False
    for _ in range(2):
        with pytest.raises(CommandExecutionError, match="could not be switched off"):
            promote(site["lb2"])
    site.switch = True
    assert promote(site["lb2"])


@pytest.mark.parametrize("name", ["lb1", "lb2"])
def test_nothing_is_written_if_the_other_one_is_silent_from_the_start(tmp_path, name):
    site = Site(tmp_path, "operator").found()
    site.cut = True
    before = site[name].copies.own("files")
    with pytest.raises(CommandExecutionError):
        promote(site[name])
    assert site[name].copies.own("files") == before


def in_doubt(site, name):
    """Let the other balancer fall silent between the question and the change."""
    site.breaks = len(site.jobs) + 1
    with pytest.raises(CommandExecutionError):
        promote(site[name])
    assert "files" in site[name].copies._doubted()


@pytest.mark.parametrize("name", ["lb1", "lb2"])
def test_a_change_in_doubt_grants_nothing_here_and_is_what_both_go_on_from(tmp_path, name):
    site = Site(tmp_path, "operator").found()
    in_doubt(site, name)
    assert site[name].arbiter.read("files")["holder"] == "file1"
    site.breaks = 10_000
    answer = site[name].arbiter.swap("files", "serve_alone", holder="file1", epoch=1)
    assert answer["swapped"] is False, "the other one may have acted on it before"
    assert holders(site) == ["file2", "file2"]
    assert site[name].arbiter.read("files")["holder"] == "file2"


def test_who_goes_on_without_the_dead_goes_on_from_what_is_in_doubt(tmp_path):
    """The dead one may have had it, and put the new holder in charge before it died."""
    site = Site(tmp_path, "operator").found()
    in_doubt(site, "lb2")
    site["lb1"].alive, site["lb2"].confirmed = False, {"lb1": WORD}
    answer = site["lb2"].arbiter.swap("files", "serve_alone", holder="file1", epoch=1)
    assert answer["swapped"] is False
    assert answer["record"]["holder"] == "file2"


def test_two_who_change_it_at_once_do_not_both_succeed(tmp_path):
    """The other one's change arrives between the question and the write."""
    site = Site(tmp_path, "operator").found()
    revision = site["lb1"].arbiter.look("files")["revision"]
    tell, rival = site["lb1"].copies._tell, site["lb2"].arbiter

    def overtaken(*arguments):
        site["lb1"].copies._tell = tell
        there = tell(*arguments)
        assert rival.swap("files", "serve_alone", holder="file1", epoch=1)["swapped"]
        return there

    site["lb1"].copies._tell = overtaken
    answer = site["lb1"].arbiter.swap("files", "promote", revision=revision, holder="file2")
    assert answer["swapped"] is False
    assert holders(site) == ["file1", "file1"]
    assert "files" not in site["lb1"].copies._doubted()


def test_a_founder_that_has_claimed_nothing_yet_is_not_asked(tmp_path):
    """It may not have our modules yet: Salt would load all others in search of the one."""
    site = Site(tmp_path, "fencing")
    site["file1"].claims = {}
    assert site["lb1"].arbiter.read("files") is None
    assert "copies.own" not in site.jobs
    site["file1"].claims = {"files": [1, 2]}
    site["lb1"].copies.AGAIN = 10
    for _ in range(3):
        assert site["lb1"].arbiter.read("files") is None
    assert site.jobs.count("copies.own") == 1, "and not at every look"


def test_revisions_go_on_where_the_founder_was(site):
    """Its claim has voided the permissions up to there."""
    founder = site["file1"].arbiter.look("files")["revision"]
    assert founder > 1
    assert site["lb1"].arbiter.look("files")["revision"] == founder


def test_what_both_balancers_have_lost_may_be_switched_off(site):
    site["file1"].alive = False
    site["lb1"].copies.secure("file1")
    assert site["lb1"].fenced == []


def test_what_the_other_balancer_hears_is_not_switched_off(site):
    """A link that was cut for a moment: each side had planned to cut the other's copy."""
    with pytest.raises(CommandExecutionError, match="file1 is not lost for lb2"):
        site["lb1"].copies.secure("file1")


def test_without_a_switch_nobody_is_safe_from_a_silent_balancer(tmp_path):
    site = Site(tmp_path, "operator").found()
    site.cut = True
    with pytest.raises(CommandExecutionError, match="ha.confirm_dead lb2"):
        site["lb1"].copies.secure("file1")


@pytest.fixture
def silent(tmp_path):
    """A site whose lb2 is heard, and answers lb1 as it is told."""
    site, answers = Site(tmp_path, "fencing").found(), []
    site["lb1"].copies._ask = lambda *_, **more: answers.pop(0)
    site["file1"].alive = False
    return site, answers


def test_a_balancer_that_is_heard_gets_time_to_answer(silent):
    """Its minion starts again, as in every upgrade."""
    site, answers = silent
    answers[:] = [None, ["x", 7]]
    with pytest.raises(CommandExecutionError, match="answers again"):
        site["lb1"].copies.secure("file1")
    assert site["lb1"].fenced == []
    answers[:] = [None, None]
    site["lb1"].copies.secure("file1")
    assert site["lb1"].fenced == ["lb2"]


def test_a_balancer_that_only_a_serial_line_hears_cannot_answer(silent):
    site, answers = silent
    answers[:], site.serial = [None], True
    site["lb1"].copies.secure("file1")
    assert site["lb1"].fenced == ["lb2"]


def test_nobody_is_switched_off_for_what_he_has_done_meanwhile(silent):
    """Its minion is busy, its master is not: it has switched file1 off, and told it here."""
    site, _ = silent

    def patience(*_, **more):
        if more.get("patience"):
            site["lb1"].copies.adopt("files", site["lb1"].copies.own("files")[0], 99)

    site["lb1"].copies._ask = patience
    with pytest.raises(CommandExecutionError, match="need not be switched off any more"):
        site["lb1"].copies.secure("file1")
    assert site["lb1"].fenced == []


def test_who_cannot_write_switches_nobody_off(tmp_path):
    site = Site(tmp_path, "fencing").found()
    site["lb1"].alive, disk = False, site["lb2"].copies.DIRECTORY
    replace = site["lb2"].copies.__utils__["keeper.replace"]

    def full(path, content):
        if path.startswith(disk):
            raise OSError(28, "No space left on device")
        return replace(path, content)

    site["lb2"].copies.__utils__["keeper.replace"] = full
    with pytest.raises(OSError, match="No space left"):
        promote(site["lb2"])
    assert site["lb2"].fenced == []


@pytest.mark.parametrize("heard", [True, False])
def test_a_new_disk_founds_no_second_director_beside_one_that_is_heard(tmp_path, heard):
    site = Site(tmp_path, "operator")
    site["lb2"].claims, site.cut = {"director": [7, 2]} if heard else {}, True
    if not heard:
        assert site["lb1"].arbiter.create("director", "lb1")["created"]
        return
    with pytest.raises(CommandExecutionError, match="lb2 has director, and does not answer"):
        site["lb1"].arbiter.create("director", "lb1")
    assert site["lb1"].copies.own("director") == [None, 0]


def test_a_founding_of_long_ago_is_no_record(tmp_path):
    """Both balancers have new disks; the founder has kept what was true on the first day."""
    site = Site(tmp_path, "operator").found()
    for name in ("lb1", "lb2"):
        shutil.rmtree(site[name].folder / "disk")
        site[name].boot()
    site["file1"].claims = {"files": [4, 1]}
    with pytest.raises(CommandExecutionError, match="file1 has seen epoch 4 of files"):
        site["lb1"].arbiter.read("files")


def test_who_hears_nobody_switches_nobody_off(silent):
    site, answers = silent
    answers[:], site.serial, site["lb1"].age = [None], True, 9
    with pytest.raises(CommandExecutionError, match="heartbeatd here says nothing"):
        site["lb1"].copies.secure("file1")
    assert site["lb1"].fenced == []


def test_nobody_is_switched_off_for_a_vm_that_came_back_meanwhile(silent):
    site, _ = silent

    def patience(*_, **more):
        site["file1"].alive = bool(more.get("patience"))

    site["lb1"].copies._ask = patience
    with pytest.raises(CommandExecutionError, match="need not be switched off"):
        site["lb1"].copies.secure("file1")
    assert site["lb1"].fenced == []


def test_without_a_switch_a_balancer_that_is_heard_is_not_to_be_confirmed_dead(tmp_path):
    site = Site(tmp_path, "operator").found()
    site["lb1"].copies._ask = lambda *_, **more: None
    with pytest.raises(CommandExecutionError, match="it is heard: mend its minion"):
        promote(site["lb1"])


def test_a_change_that_went_on_alone_is_in_no_doubt(tmp_path):
    site = Site(tmp_path, "fencing").found()
    site.breaks = len(site.jobs) + 1
    site["lb2"].alive = True
    tell = site["lb1"].copies._tell

    def dies(*arguments):
        answer = tell(*arguments)
        site["lb2"].alive = False  # between the question and the change
        return answer

    site["lb1"].copies._tell = dies
    assert promote(site["lb1"])
    assert site["lb1"].fenced == ["lb2"]
    assert "files" not in site["lb1"].copies._doubted()
    assert site["lb1"].arbiter.read("files")["holder"] == "file2"


def once_met(balancer, then):
    """Call ``then`` after the other one has answered ``meet``, and before that is made use of."""
    ask = balancer.copies._ask

    def asked(function, *arguments, **more):
        answer = ask(function, *arguments, **more)
        if function == "copies.meet":
            balancer.copies._ask = ask
            then()
        return answer

    balancer.copies._ask = asked


def test_what_both_have_compared_is_not_changed_on_one_disk_again(tmp_path):
    """Another thread is at work on a key while lb1 compares, and lb2 compares by itself."""
    site = Site(tmp_path, "operator").found()
    lb1, lb2 = site["lb1"], site["lb2"]
    lb2.alive, lb1.confirmed = False, {"lb2": WORD}
    assert promote(lb1)
    lb2.boot()
    lb1.confirmed = {}

    def joined():
        assert lb2.arbiter.read("files")["holder"] == "file2"

    def busy(key, wait=True):
        if not wait:
            raise BlockingIOError(key)
        return turn(key)

    turn, lb1.copies._turn = lb1.copies._turn, busy
    once_met(lb1, joined)
    lb1.copies._join()
    lb1.copies._turn = turn
    site.cut = True
    with pytest.raises(CommandExecutionError):
        lb1.arbiter.swap("files", "mirrored", holder="file2", epoch=2)


def test_a_balancer_that_answers_with_an_error_keeps_nobody_from_reading(site):
    """Its disk is full: what moves alone has moved alone, the data stays where it is."""
    served_by_lb1(site)
    site.breaks = len(site.jobs) + 1
    assert site["lb2"].arbiter.swap("director", "promote", holder="lb2")["swapped"]
    site.breaks = 10_000
    site.broken = {"copies.adopt": "no space left", "copies.meet": "no space left"}
    assert site["lb2"].arbiter.read("director")["holder"] == "lb2"
    assert site["lb2"].arbiter.read("files")["holder"] == "file1"
    with pytest.raises(CommandExecutionError, match="no space left"):
        promote(site["lb2"])
    site.broken = {}
    assert promote(site["lb2"])
    assert site["lb1"].arbiter.read("director")["holder"] == "lb2"


def test_what_was_granted_while_the_other_came_back_is_not_forgotten(tmp_path):
    """lb2 was not dead at all; it is heard again, and told less than what was granted last."""
    site = Site(tmp_path, "operator").found()
    lb1, lb2 = site["lb1"], site["lb2"]
    site.cut, lb1.confirmed = True, {"lb2": WORD}
    assert promote(lb1)
    site.cut = False

    def granted():
        with lb1.copies._turn("files"):  # of another thread, which had looked before
            value, revision = lb1.copies.own("files")
            mirrored = value.replace('"mirrored": false', '"mirrored": true')
            assert mirrored != value
            assert lb1.copies._alone("files", mirrored, revision)[0]

    once_met(lb1, granted)
    assert lb1.arbiter.read("files")["holder"] == "file2"
    assert lb2.arbiter.read("files")["mirrored"] is True
    assert lb1.copies.own("files") == lb2.copies.own("files")


def test_who_takes_over_a_change_looks_again_if_it_was_overtaken(site):
    copies = site["lb1"].copies
    own = copies.own

    def overtaken(key):
        copies.own = own
        found = own(key)
        copies.__utils__["keeper.put"](copies.DIRECTORY, key, "a", found[1])
        return found

    copies.own, revision = overtaken, own("files")[1] + 1
    assert copies.adopt("files", "b", revision) == ["b", revision]


def test_many_threads_find_the_other_one_dead_at_once(site):
    """As a failover does, which looks at every record at the same time."""
    site["lb2"].alive = False
    copies = site["lb1"].copies
    start = threading.Barrier(8)

    def go(_):
        start.wait()
        copies._go_on_without("lb2", "switched off", copies._met())
        return copies.get("files")[0]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = [set(pool.map(go, range(8))) for _ in range(20)]
    assert found == [{copies.own("files")[0]}] * 20


def test_who_held_the_director_when_they_last_agreed_stays_known(site):
    served_by_lb1(site)
    site.cut = True
    assert site["lb2"].arbiter.swap("director", "promote", holder="lb2")["swapped"]
    assert site["lb2"].arbiter.swap("director", "promote", holder="lb1")["swapped"]
    for name in ("lb1", "lb2"):
        assert json.loads(site[name].copies.agreed("director")[0])["holder"] == "lb1"


def halfway(site, name, meanwhile):
    """Have ``meanwhile`` happen once when ``name`` has written its change and not told it yet."""
    copies = site[name].copies
    put = copies.__utils__["keeper.put"]

    def written(*arguments):
        answer = put(*arguments)
        copies.__utils__["keeper.put"] = put
        meanwhile()
        return answer

    copies.__utils__["keeper.put"] = written


def test_of_two_changes_at_once_only_one_is_granted_though_the_link_breaks_in_between(tmp_path):
    """Both have asked, then both write; lb2's change wins, and lb1 does not hear of it."""
    site = Site(tmp_path, "fencing").found()
    utils, asked, go = site["lb2"].copies.__utils__, threading.Event(), threading.Event()
    put = utils["keeper.put"]

    def waiting(*arguments):
        utils["keeper.put"] = put
        asked.set()
        assert go.wait(60)
        return put(*arguments)

    utils["keeper.put"] = waiting
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(promote, site["lb2"])
        assert asked.wait(60)

        def overtaken():
            go.set()
            other.exception(60)
            site.cut = True

        halfway(site, "lb1", overtaken)
        mine = site["lb1"].arbiter.swap("files", "serve_alone", holder="file1", epoch=1)
    assert [other.result(), mine["swapped"]].count(True) == 1


def test_a_change_that_was_refused_is_never_read(tmp_path):
    site = Site(tmp_path, "operator").found()
    lb1, lb2 = site["lb1"], site["lb2"]
    adopt, seen = lb1.copies.adopt, []

    def looked_at(key, *entry):
        lb1.copies.adopt, site.cut = adopt, True  # nobody can be asked now
        seen.append(lb1.copies.get(key)[0])
        return adopt(key, *entry)

    before = lb1.copies.own("files")[0]
    halfway(site, "lb1", lambda: (
        lb2.copies.put("files", "other", lb2.copies.own("files")[1]),
        setattr(lb1.copies, "adopt", looked_at)))
    lb1.copies.put("files", "mine", lb1.copies.own("files")[1])
    assert seen and set(seen) <= {before, lb2.copies.own("files")[0]}


def test_a_word_of_an_earlier_silence_does_not_count(tmp_path):
    site = Site(tmp_path, "operator").found()
    site["lb1"].confirmed = {"lb2": {"since": time.time(), "why": None}}
    site["lb2"].alive = False
    assert promote(site["lb1"])
    site["lb2"].boot()
    assert site["lb2"].arbiter.read("files")["holder"] == "file2"
    site.cut = True
    with pytest.raises(CommandExecutionError, match=r"ha.confirm_dead lb2"):
        site["lb1"].arbiter.swap("files", "mirrored", holder="file2", epoch=2)


def test_who_is_heard_is_not_dead_whatever_was_said(tmp_path):
    site = Site(tmp_path, "operator").found()
    site["lb1"].confirmed, site.breaks = {"lb2": WORD}, 0
    with pytest.raises(CommandExecutionError, match="it is heard"):
        promote(site["lb1"])


def test_a_change_in_doubt_that_counts_is_ahead_of_what_the_dead_one_had(tmp_path):
    site = Site(tmp_path, "operator").found()
    lb1, lb2 = site["lb1"], site["lb2"]
    halfway(site, "lb1", lambda: setattr(site, "cut", True))
    with pytest.raises(CommandExecutionError, match="ha.confirm_dead"):
        promote(lb1)
    value, revision = lb2.copies.own("files")
    theirs = lb2.copies.__utils__["keeper.put"](
        lb2.copies.DIRECTORY, "files", f"{value} ", revision, revision + 5)
    lb2.alive, lb1.confirmed = False, {"lb2": WORD}
    lb1.copies.put("motto", "excelsior", 0)
    assert lb1.arbiter.read("files")["holder"] == "file2"
    assert lb1.copies.own("files")[1] > theirs[2]


def test_who_has_not_compared_switches_nobody_off(tmp_path):
    site = Site(tmp_path, "fencing").found()
    site.cut = True
    site["lb1"].boot()
    with pytest.raises(CommandExecutionError, match="may be older than those of lb2"):
        site["lb1"].copies.secure("file2")
    assert site["lb1"].fenced == []
