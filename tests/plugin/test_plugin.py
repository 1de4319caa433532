"""The plugin as its users meet it: in a pytest run of its own."""

import subprocess
import sys

import pytest

DETECTED = """
    from straybit import BitFlip

    def test_detected(cluster):
        flip = BitFlip("gossip-1:gossip-2", message="state", field="version", bit=62)
        with cluster.trial(flip) as trial:
            trial.expect_detected(by="gossip-crc", within_s=2)
        trial.expect_contained()
        trial.expect_recovered(within_s=5)
        trial.expect_outcome("DETECTED")
"""


@pytest.fixture
def run(pytester):
    """Run pytest in a process of its own over one file."""

    def _run(source, *args):
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *args)

    return _run


def test_nothing_of_ours_is_imported_until_a_fixture_is_used():
    """Having straybit installed costs every other pytest run next to nothing."""
    code = (
        "import sys, straybit.pytest_plugin as _\n"
        "heavy = {'msgspec', 'aiohttp', 'boto3', 'rich', 'tenacity', 'scipy', 'urllib3', 'click', 'docker'}\n"
        "found = {m.split('.')[0] for m in sys.modules} & heavy\n"
        "print(*sorted(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_no_header_line_when_not_in_use(run):
    """A run that uses no cluster does not hear of straybit."""
    result = run("def test_nothing(): pass")
    result.assert_outcomes(passed=1)
    assert "straybit:" not in result.stdout.str()


@pytest.mark.parametrize("backend", ["process", pytest.param("docker", marks=pytest.mark.docker)])
def test_a_defended_cluster_passes_and_says_so_once(run, backend, request):
    """The README's kind of test passes on every backend, one header line names defences, backend and seed."""
    if backend == "docker":
        request.getfixturevalue("docker_engine")
    result = run(DETECTED, f"--straybit-backend={backend}")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"straybit: defences all, backend {backend}, seed 0; 1 test uses a cluster"])
    assert "play it again" not in result.stdout.str()


def test_an_undefended_cluster_fails_with_one_replay_line(run, pytester):
    """Without the defence the expectation fails, says what was seen instead, and how to play it again."""
    result = run(DETECTED, "--straybit-defences=none", "--straybit-seed=7")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*gossip-crc did not notice within 2 s; nobody did*"])
    line = "straybit replay 1/gossip-1:gossip-2/up/state/0/version/62 --defences none --backend process --seed 7"
    result.stdout.fnmatch_lines(["*straybit: play it again*", line])
    assert (pytester.path / "straybit-out" / "replay.txt").read_text() == f"{line}\n"


def test_a_flip_that_never_came_is_invalid_and_never_green(run):
    """A message that does not come by makes the trial fail with InvalidTrial."""
    result = run(
        """
        from straybit import BitFlip, InvalidTrial

        def test_never(cluster):
            with cluster.trial(BitFlip("gossip-1:gossip-2", message="failed", field="owner", bit=0)):
                pass
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*InvalidTrial: INVALID: no message came that matches 1/gossip-1:gossip-2/up/failed*"])


def test_a_flip_that_cannot_be_is_one_clear_line(run):
    """An unknown link, message, field or bit is refused before anything is armed, and names what there is."""
    result = run(
        """
        import pytest
        from straybit import BitFlip

        @pytest.mark.parametrize(("link", "message", "field", "bit", "says"), [
            ("gossip-1:gossip-9", "state", "version", 0, "there is no link gossip-1:gossip-9; gossip-1 has"),
            ("gossip-1:gossip-2", "stat", "version", 0, "gossip has no message 'stat'; it has"),
            ("gossip-1:gossip-2", "state", "versio", 0, "message state has no field 'versio'; it has"),
            ("gossip-1:gossip-2", "state", "version", 64, "field version has bits 0..63, not 64"),
            ("gossip-1:gossip-2", "state", "gossip-9.version", 0, "has no field 'gossip-9.version'"),
        ])
        def test_wrong(cluster, link, message, field, bit, says):
            with pytest.raises(ValueError, match=says):
                cluster.trial(BitFlip(link, message=message, field=field, bit=bit))
        """
    )
    result.assert_outcomes(passed=5)


def test_fixtures_can_be_overridden(run):
    """Defences, budgets, size, workload and steady probe are a user's to say."""
    result = run(
        """
        import pytest
        from straybit import BitFlip
        from straybit_nodes.topology import Topology

        @pytest.fixture
        def straybit_target():
            return Topology.gossip_only(3)

        @pytest.fixture
        def straybit_defences():
            return "none"

        @pytest.fixture
        def straybit_budgets():
            return {"recovered": 0.5}

        @pytest.fixture
        def straybit_steady():
            return lambda cluster: ["the probe says no"] if cluster.topology.storage else cluster.disagreements()

        def test_poison(cluster):
            with cluster.trial(BitFlip("gossip-1:gossip-2", message="state", field="version", bit=62)) as trial:
                pass
            trial.expect_outcome("SPREAD")
            assert trial.record.sticky
            assert trial.record.blast_radius == 2

        def test_a_poisoned_cluster_is_not_used_again(cluster):
            assert cluster.doubts() == ()
        """
    )
    result.assert_outcomes(passed=2)


def test_a_probe_that_says_no_makes_the_trial_invalid(run):
    """A cluster that is not steady before the flip proves nothing."""
    result = run(
        """
        import pytest
        from straybit import BitFlip, InvalidTrial
        from straybit_nodes.topology import Topology

        @pytest.fixture
        def straybit_target():
            return Topology.gossip_only(2)

        @pytest.fixture
        def straybit_steady():
            return lambda cluster: ["the disk is full"]

        def test_doubt(cluster):
            with pytest.raises(InvalidTrial, match="not steady before the flip: the disk is full"):
                with cluster.trial(BitFlip("gossip-1:gossip-2", message="state", field="load", bit=1)):
                    pass
        """
    )
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("defences=nonsense", "straybit_defences: unknown defence nonsense; choose from none, 2008, all*"),
        ("backend=paper", "straybit: there is no backend 'paper'; choose from process*"),
        ("budgets=lunch=5s", "straybit_budgets: budget 'lunch=5s' is not NAME=SECONDS*"),
    ],
)
def test_a_setting_that_cannot_be_is_one_clear_line(run, option, says):
    """A cluster that cannot be had is an error without a traceback, and one line that plays the test again."""
    result = run(DETECTED, f"--straybit-{option}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([says])
    result.stdout.no_fnmatch_line("*pytest_plugin.py:*")
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.fnmatch_lines([f"pytest *::test_detected *--straybit-{option}*"])


def test_a_cluster_that_does_not_start_says_its_last_words(run):
    """A backend's error is told as it is, with what the node wrote last, and without a traceback of ours."""
    result = run(
        """
        import pytest
        from straybit.backends import BackendError

        class Broken:
            def get(self, *_):
                raise BackendError("gossip-1 ended with status 1\\n  out of memory")

        @pytest.fixture(scope="session")
        def straybit_clusters():
            return Broken()

        def test_nothing(cluster):
            pass
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["straybit: gossip-1 ended with status 1", "  out of memory"])
    result.stdout.no_fnmatch_line("*BackendError*")


def test_the_line_of_a_test_has_its_fixtures_values(run):
    """Where no trial was made, the line that plays the test again says what its fixtures said, not the options."""
    result = run(
        """
        import pytest
        from straybit_nodes.topology import Topology

        @pytest.fixture
        def straybit_target():
            return Topology.gossip_only(2)

        @pytest.fixture
        def straybit_defences():
            return "gossip-crc"

        @pytest.fixture
        def straybit_seed():
            return 41

        @pytest.fixture
        def straybit_budgets():
            return {"recovered": 0.5}

        def test_wrong(cluster):
            raise RuntimeError("no trial")
        """
    )
    result.assert_outcomes(failed=1)
    words = "--straybit-defences=gossip-crc --straybit-backend=process --straybit-seed=41 --straybit-budgets=recovered="
    result.stdout.fnmatch_lines([f"pytest *::test_wrong {words}0.5s"])


def test_the_line_is_of_the_trial_that_failed(run, pytester):
    """Of several trials the one whose expectation failed is played again, with the size of its cluster.

    Each leaves its outcome and flip in JUnit, one that an exception ended too.
    """
    result = run(
        """
        import pytest
        from straybit import BitFlip
        from straybit_nodes.topology import Topology

        @pytest.fixture
        def straybit_target():
            return Topology.gossip_only(3)

        @pytest.fixture
        def straybit_budgets():
            return {"detected": 1.5}

        def test_two(cluster):
            with cluster.trial(BitFlip("gossip-1:gossip-2", message="state", field="load", bit=1)) as first:
                pass
            with cluster.trial(BitFlip("gossip-2:gossip-3", message="state", field="load", bit=1)):
                pass
            first.expect_outcome("SILENT")

        def test_thrown(cluster):
            with cluster.trial(BitFlip("gossip-1:gossip-2", message="state", field="load", bit=2)):
                raise RuntimeError("in the block")
        """,
        "--junitxml=junit.xml",
    )
    result.assert_outcomes(failed=2)
    options = "--defences all --backend process --seed 0 --budget detected=1.5s --gossip-only 3"
    lines = [f"straybit replay 1/gossip-1:gossip-2/up/state/0/load/{bit} {options}" for bit in (1, 2)]
    assert (pytester.path / "straybit-out" / "replay.txt").read_text().splitlines() == lines
    junit = (pytester.path / "junit.xml").read_text()
    for said in ("DETECTED 1/gossip-2:gossip-3/up/state/0/load/1", "not judged 1/gossip-1:gossip-2/up/state/0/load/2"):
        assert f'<property name="straybit" value="{said}"' in junit


def test_ini_twins(run, pytester):
    """Every option can stand in the ini file; the command line wins."""
    pytester.makeini("[pytest]\nstraybit_seed = 5\nstraybit_defences = none\n")
    source = """
        def test_settings(straybit_seed, straybit_defences, straybit_clusters):
            print(f"seed={straybit_seed} defences={straybit_defences}")
    """
    result = run(source, "-s", "--straybit-defences=all")
    result.stdout.fnmatch_lines(["*seed=5 defences=all*"])


def test_a_seed_that_is_no_number_is_a_usage_error(run):
    """A wrong option ends the run before it begins, in one line."""
    result = run("def test_nothing(): pass", "--straybit-seed=x")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --straybit-seed 'x' is neither a number nor random"])


def test_workers_share_the_controllers_seed(run, pytester):
    """Under xdist a random seed is drawn once, and every worker has it."""
    source = """
        import os
        import pytest

        @pytest.mark.parametrize("number", range(8))
        def test_seed(straybit_seed, number):
            with open("seeds", "a") as file:
                file.write(f"{os.environ['PYTEST_XDIST_WORKER']} {straybit_seed}\\n")
    """
    result = run(source, "-n", "2", "--straybit-seed=random")
    result.assert_outcomes(passed=8)
    said = [line.split() for line in (pytester.path / "seeds").read_text().splitlines()]
    assert {worker for worker, _ in said} == {"gw0", "gw1"}
    assert len({seed for _, seed in said}) == 1
