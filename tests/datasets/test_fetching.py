"""Data sets that arrive: from a server that breaks off, lies, has other files or none, onto a disk as notebook 01 reads
it."""

import json
import shutil
import subprocess
import sys
from collections import namedtuple

import pytest
import yaml
from archiveserver import ArchiveServer, rar_of, tar_of, zip_of
from videofiles import write_video

from actlib import downloads, progress
from actlib.__main__ import main
from actlib.datasets.addresses import all_addresses, find_addresses
from actlib.datasets.catalog import list_datasets
from actlib.datasets.errors import DataError
from actlib.datasets.fetching import archives
from actlib.datasets.fetching.archives import ArchiveError, members
from actlib.datasets.fetching.dataset import fetch
from actlib.datasets.lists.annotations import find_videos, make_dataset_info, read_annotations
from actlib.params import DataPrepParams

PAGE = b"<!DOCTYPE html><html><body>Sign in to download</body></html>"
CLASSES = ("abseiling", "air drumming", "yoga")


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> bytes:
    return write_video(tmp_path_factory.mktemp("served") / "a.mp4", 6, 64, 48, fps=6).read_bytes()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(downloads, "PAUSE_S", 0.001)
    monkeypatch.setenv("ACTLIB_HEADLESS", "1")
    with ArchiveServer() as running:
        yield running
        running.shutdown()


def addresses(server, monkeypatch, path, name: str, **entry):
    """Let the file of addresses at `path` have one data set, and be the one that is read."""
    texts = {"page": "https://example.org/page", "license": "Free as the wind.", "citation": "Who: What. When."}
    path.write_text(yaml.safe_dump({name: texts | entry}))
    monkeypatch.setenv("ACTLIB_ADDRESSES", str(path))


def youtube(number: int) -> str:
    return f"-Ab_{number:07d}"


def clip(number: int) -> str:
    return f"{youtube(number)}_{number:06d}_{number + 10:06d}.mp4"


@pytest.fixture
def kinetics(server, video, tmp_path, monkeypatch):
    """Kinetics of three classes: videos 0 to 11 train in three archives, 12 to 14 validate in one, 15 is a test."""

    def listed(numbers, split, label=True):
        head = "label," if label else ""
        rows = [f"{f'{CLASSES[n % 3]},' if label else ''}{youtube(n)},{n},{n + 10},{split}" for n in numbers]
        return "\n".join([f"{head}youtube_id,time_start,time_end,split", *rows]).encode()

    files = server.files
    files["/train.csv"], files["/val.csv"] = listed(range(12), "train"), listed(range(12, 15), "val")
    files["/test.csv"] = listed([15], "test", label=False)
    for part, numbers in enumerate((range(4), range(4, 8), range(8, 12))):
        files[f"/part%20{part}.tar.gz"] = tar_of({f"k400/{clip(n)}": video for n in numbers})
    files["/val_0.tar"] = tar_of({clip(n): video for n in range(12, 15)}, "")
    files["/test_0.tar.gz"] = tar_of({clip(15): video, "./notes.txt": b"x"})
    files["/replacement.tgz"] = tar_of({f"r/{youtube(1)}.mp4": video + b"new"})
    files["/train_paths.txt"] = "".join(f"{server.url}/part {part}.tar.gz\n" for part in range(3)).encode()
    files["/val_paths.txt"] = f"{server.url}/val_0.tar\n".encode()
    files["/test_paths.txt"] = f"{server.url}/test_0.tar.gz".encode()
    url = server.url
    subsets = ("training", "train"), ("validation", "val"), ("testing", "test")
    lists = [{"file": f"kinetics-400_{k}.csv", "urls": [f"{url}/{k}.csv"], "subset": subset} for subset, k in subsets]
    entry = {
        "lists": lists,
        "archives": [{"file": "replacement.tgz", "urls": [f"{url}/replacement.tgz"], "subset": "training"}],
        "parts": {subset: f"{url}/{k}_paths.txt" for subset, k in subsets},
    }
    addresses(server, monkeypatch, tmp_path / "addresses.yaml", "kinetics400", **entry)
    return server


def on_disk(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def visible(folder) -> list[str]:
    return [name for name in on_disk(folder) if not any(part.startswith(".") for part in name.split("/"))]


def test_what_comes_is_kept_and_the_rest_comes_the_next_time(kinetics, video, tmp_path, capsys, monkeypatch):
    """One archive is a 404, one breaks off again and again, one a page, one is shorter than it says."""
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.0)
    to, server = tmp_path / "to", kinetics
    missing = server.files.pop("/part%201.tar.gz")
    whole = server.files["/val_0.tar"]
    server.files["/val_0.tar"] = whole[: 512 + -(-len(video) // 512) * 512]  # between two files
    server.cuts = {"/part%200.tar.gz": [len(missing) // 3, len(missing) // 3]}
    server.files["/part%202.tar.gz"], third = PAGE, server.files["/part%202.tar.gz"]
    assert main(["data", "fetch", "kinetics400", "--to", str(to), "--workers", "2"]) == 1
    told = capsys.readouterr()
    assert "Free as the wind." in told.out and "Who: What. When." in (to / "videos" / "LICENCE.txt").read_text()
    assert "broke off after" in told.out and "5 of 15 videos are in" in told.out
    assert "MB/s" in told.out or "kB/s" in told.out
    for words in ("3 did not come", "HTTP Error 404", "page of HTML", "val_0.tar: cut off: its end is missing"):
        assert words in told.err
    videos = to / "videos"
    names = [f"{CLASSES[n % 3]}/{clip(n)}" for n in (0, 1, 2, 3, 12)]
    assert visible(videos) == sorted(["LICENCE.txt", *names])
    assert (videos / names[1]).read_bytes() == video + b"new"  # the replacement, at the listed name
    server.files |= {"/part%201.tar.gz": missing, "/part%202.tar.gz": third, "/val_0.tar": whole}
    server.asked.clear()
    assert main(["data", "fetch", "kinetics400", "--to", str(to)]) == 0
    assert sorted(server.got()) == ["/part%201.tar.gz", "/part%202.tar.gz", "/val_0.tar"]
    told = capsys.readouterr()
    assert "15 of 15 videos" in told.out and "Free as the wind." not in told.out and not told.err
    assert len(visible(videos)) == 16 and [name for name in on_disk(videos) if "tar" in name] == []
    server.asked.clear()
    assert main(["data", "fetch", "kinetics400", "--to", str(to)]) == 0 and not server.asked  # not even for a size
    (videos / names[0]).unlink()
    assert main(["data", "fetch", "kinetics400", "--to", str(to)]) == 0 and server.got() == ["/part%200.tar.gz"]
    for asked in (["/part%200.tar.gz", "/test_0.tar.gz"],) * 2:  # the second time of nothing
        assert main(["data", "fetch", "kinetics400", "--to", str(to), "--subset", "testing"]) == 0
        assert server.got() == asked
    assert f"test/{clip(15)}" in visible(videos) and len(visible(videos)) == 17


def test_the_recipe_is_one_for_notebook_01(kinetics, tmp_path, monkeypatch):
    to = tmp_path / "to"
    assert main(["data", "fetch", "kinetics400", "--to", str(to), "--classes", "Yoga", "air_drumming"]) == 0
    assert {name.split("/")[0] for name in visible(to / "videos")} == {"LICENCE.txt", "air drumming", "yoga"}
    p = DataPrepParams.from_file(to / "data_prep.yaml")
    assert (p.source, p.dataset, p.run_dir) == ("annotations", "kinetics400", "outputs/kinetics400")
    assert p.missing_inputs(tmp_path) == {}
    listed = read_annotations(p.dataset, p.annotations, class_list=p.class_list, data_root=p.data_root)
    found, missing = find_videos(listed, p.data_root)
    assert listed.classes == ["air drumming", "yoga"] and len(found) == 10 and missing.empty
    info = make_dataset_info(listed, found, found)
    assert (info.license, info.citation) == ("Free as the wind.", "Who: What. When.")
    (tmp_path / "few.txt").write_text("yoga''.\nabseiling\n")  # a mini set is some classes of another one, misspelt
    few = ["--to", str(tmp_path / "few"), "--classes", str(tmp_path / "few.txt")]
    assert main(["data", "fetch", "mini_kinetics", *few]) == 0
    p = DataPrepParams.from_file(tmp_path / "few" / "data_prep.yaml")
    assert p.dataset == "mini_kinetics" and len(visible(tmp_path / "few" / "videos")) == 11
    monkeypatch.delenv("ACTLIB_ADDRESSES")  # also of lists that were not fetched
    assert "1705.06950" in read_annotations("kinetics400", p.annotations).citation


def test_a_limit_keeps_the_first_ones_and_ends_the_fetch(kinetics, tmp_path):
    to = tmp_path / "to"
    command = ["data", "fetch", "kinetics400", "--to", str(to), "--subset", "training", "--workers", "1"]
    assert main([*command, "--limit", "1"]) == 0
    assert visible(to / "videos")[1:] == sorted(f"{CLASSES[n]}/{clip(n)}" for n in range(3))
    assert kinetics.got() == ["/replacement.tgz", "/part%200.tar.gz"]  # and no other archive
    kinetics.asked.clear()
    assert main([*command, "--limit", "2", "--classes", "abseiling"]) == 0  # the third video has its place in part 0
    assert f"abseiling/{clip(3)}" in visible(to / "videos") and len(visible(to / "videos")) == 5
    assert kinetics.got() == ["/replacement.tgz", "/part%200.tar.gz"]


def test_archives_called_after_a_class_are_left_out_if_that_is(kinetics, video, tmp_path, capsys):
    server = kinetics
    for number, label in enumerate(CLASSES):
        server.files[f"/{label.replace(' ', '%20')}.tar.gz"] = tar_of({clip(number): video})
    server.files["/train_paths.txt"] = "\n".join(f"{server.url}/{label}.tar.gz" for label in CLASSES).encode()
    to = str(tmp_path / "to")
    assert main(["data", "fetch", "kinetics400", "--to", to, "--subset", "training", "--classes", "air drumming"]) == 0
    assert sorted(server.got()) == ["/air%20drumming.tar.gz", "/replacement.tgz"]
    assert main(["data", "fetch", "kinetics400", "--to", to, "--classes", "yogi", "yoga"]) == 2
    assert "'yogi': none of the 3 classes; did you mean yoga?" in capsys.readouterr().err


def test_room_is_asked_for_before_any_archive(kinetics, tmp_path, capsys, monkeypatch):
    to, usage = tmp_path / "to", namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, 5_000_000))
    kinetics.told = {f"/part%20{part}.tar.gz": 4_000_000 for part in range(3)}
    assert main(["data", "fetch", "kinetics400", "--to", str(to), "--subset", "training"]) == 2
    told = capsys.readouterr().err
    assert "MB do not fit into the 5.0 MB that are free. No archive was fetched" in told
    assert kinetics.got() == [] and ("HEAD", "/part%200.tar.gz", None) in kinetics.asked
    kinetics.told = {}
    assert main(["data", "fetch", "kinetics400", "--to", str(to), "--subset", "training"]) == 0


KILLED = """
import sys
from actlib.datasets.fetching import archives, dataset
import time
copy = archives.Member.copy_to
def slowly(self, target):
    copy(self, target)
    print("copied", flush=True)
    time.sleep(60)
archives.Member.copy_to = slowly
dataset.fetch("kinetics400", sys.argv[1] + "/videos", sys.argv[1] + "/annotations", subsets=["training"])
"""


def test_a_fetch_that_is_killed_goes_on(kinetics, video, tmp_path):
    """Killed while a video stands under its temporary name, and archives are on their way."""
    to = tmp_path / "to"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(to)], stdout=subprocess.PIPE, text=True)
    try:
        assert any(line == "copied\n" for line in process.stdout)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert [name for name in on_disk(to / "videos") if "/.part-" in name] and visible(to / "videos") == ["LICENCE.txt"]
    found = fetch("kinetics400", to / "videos", to / "annotations", subsets=["training"])
    assert (found.kept, found.failed) == (12, []) and len(visible(to / "videos")) == 13
    assert not [name for name in on_disk(to / "videos") if ".part" in name]


UCF_LISTS = {
    "ucfTrainTestlist/classInd.txt": b"1 HandstandPushups\r\n2 Yo\r\n",
    **{
        f"ucfTrainTestlist/trainlist0{k}.txt": b"HandstandPushups/v_HandStandPushups_g01_c01.avi 1\r\n"
        for k in (1, 2, 3)
    },
    **{f"ucfTrainTestlist/testlist0{k}.txt": b"Yo/v_Yo_g01_c01.avi\r\n" for k in (1, 2, 3)},
    "__MACOSX/._trainlist01.txt": b"x",
}


@pytest.fixture
def ucf101(server, video, tmp_path, monkeypatch):
    lists, url = zip_of(UCF_LISTS), server.url
    server.files["/lists.zip"] = lists
    server.files["/UCF101.rar"] = rar_of({f"UCF-101/{name}": video for name in ("Yo/v_Yo_g01_c01.avi", "x/v_x.avi")})
    server.files["/videos.zip"] = zip_of(
        {"UCF101/v_HandstandPushups_g01_c01.avi": video, "UCF101/v_Yo_g01_c01.avi": video}
    )
    instead = {"file": "videos.zip", "urls": [f"{url}/videos.zip"], "bytes": len(server.files["/videos.zip"])}
    entry = {
        "lists": [{"file": "lists.zip", "urls": [f"{url}/gone.zip", f"{url}/lists.zip"], "bytes": len(lists)}],
        "archives": [{"file": "UCF101.rar", "urls": [f"{url}/UCF101.rar"], "instead": instead}],
    }
    addresses(server, monkeypatch, tmp_path / "addresses.yaml", "ucf101", **entry)
    return server


def test_without_a_program_for_rar_its_zip_is_taken_where_there_is_one(ucf101, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "RAR_TOOLS", ())
    to = tmp_path / "to"
    assert main(["data", "fetch", "ucf101", "--to", str(to), "--keep-archives"]) == 0
    assert ucf101.got() == ["/gone.zip", "/lists.zip", "/videos.zip"]
    names = ["HandstandPushups/v_HandStandPushups_g01_c01.avi", "Yo/v_Yo_g01_c01.avi"]  # as the lists spell them
    assert visible(to / "videos") == sorted(["LICENCE.txt", *names])
    assert (to / "videos" / ".fetch" / "videos.zip").is_file()
    listed = read_annotations("ucf101", to / "annotations", split=2)
    assert len(find_videos(listed, to / "videos")[0]) == 2
    ucf101.files["/videos.zip"] = ucf101.files["/videos.zip"].replace(b"ftyp", b"ftyq", 1)  # damaged on its way
    shutil.rmtree(to)
    found = fetch("ucf101", to / "videos", to / "annotations")
    assert found.kept == 0 and "damaged or cut off (Bad CRC-32" in found.failed[0]
    assert visible(to / "videos") == ["LICENCE.txt"] and not list((to / "videos" / ".fetch").glob("*.zip"))


def test_where_a_rar_is_all_there_is_it_is_refused_before_anything(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(archives, "RAR_TOOLS", ())
    archive = {"file": "hmdb51_org.rar", "urls": [f"{server.url}/hmdb51_org.rar"]}
    entry = {"lists": [archive | {"file": "splits.rar"}], "archives": [archive]}
    addresses(server, monkeypatch, tmp_path / "addresses.yaml", "hmdb51", **entry)
    assert main(["data", "fetch", "hmdb51", "--to", str(tmp_path / "to")]) == 2
    told = capsys.readouterr().err
    assert "bsdtar" in told and "unrar" in told and "Nothing was fetched" in told and not server.asked
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("tool", archives.RAR_TOOLS)
def test_a_rar_of_rars(server, video, tmp_path, monkeypatch, tool):
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    monkeypatch.setattr(archives, "RAR_TOOLS", (tool,))
    splits = {f"splits/{name}_test_split{k}.txt": f"{name}_1.avi 1\n{name}_2.avi 2\n{name}_3.avi 0\n".encode()
              for name in ("brush_hair", "wave") for k in (1, 2, 3)}  # fmt: skip
    inner = {
        f"{name}.rar": rar_of({f"{name}/{name}_{k}.avi": video for k in (1, 2, 3)}) for name in ("brush_hair", "wave")
    }
    server.files |= {"/splits.rar": rar_of(splits), "/org.rar": rar_of(inner)}
    entry = {
        "lists": [{"file": "splits.rar", "urls": [f"{server.url}/splits.rar"]}],
        "archives": [{"file": "org.rar", "urls": [f"{server.url}/org.rar"]}],
    }
    addresses(server, monkeypatch, tmp_path / "addresses.yaml", "hmdb51", **entry)
    videos, lists = tmp_path / "videos", tmp_path / "annotations"
    assert fetch("hmdb51", videos, lists, classes=["wave"]).kept == 2
    assert visible(videos) == ["LICENCE.txt", "wave/wave_1.avi", "wave/wave_2.avi"]
    server.files["/org.rar"] = server.files["/org.rar"][
        : len(server.files["/org.rar"]) // 2
    ]  # it lies about its length
    found = fetch("hmdb51", videos, lists)
    assert "org.rar" in found.failed[0] and "damaged or cut off" in found.failed[0]
    assert not [name for name in on_disk(videos) if ".part" in name or name.endswith(".rar")]
    server.files["/org.rar"] = rar_of(inner)
    assert fetch("hmdb51", videos, lists).kept == 4
    assert fetch("hmdb51", tmp_path / "both", lists, limit=1, subsets=["training"]).kept == 2
    assert visible(tmp_path / "both")[1:] == ["brush_hair/brush_hair_1.avi", "wave/wave_1.avi"]


def test_an_archive_that_a_person_was_sent(server, video, tmp_path, monkeypatch, capsys):
    lists = {"moments_categories.txt": b"aiming,0\nyawning,1\n", "license.txt": b"For research.",
             "trainingSet.csv": b"aiming/a.mp4,aiming,3,0\nyawning/a.mp4,yawning,3,0\n",
             "validationSet.csv": b"aiming/b.mp4,aiming,3,0\n"}  # fmt: skip
    files = {f"training/{name}/a.mp4": video + name.encode() for name in ("aiming", "yawning")}
    sent = tmp_path / "sent.zip"
    sent.write_bytes(zip_of(lists | files | {"validation/aiming/b.mp4": video}))
    addresses(server, monkeypatch, tmp_path / "addresses.yaml", "moments", given="Moments.zip", how="Ask them")
    to = tmp_path / "to"
    assert main(["data", "fetch", "moments", "--to", str(to)]) == 2
    told = capsys.readouterr().err
    assert "Ask them" in told and "https://example.org/page" in told and "validationSet.csv" in told
    for given in (str(sent), f"{server.url}/sent.zip"):
        server.files["/sent.zip"] = sent.read_bytes()
        assert main(["data", "fetch", "moments", "--to", str(to), "--archive", given]) == 0
        assert len(visible(to / "videos")) == 4 and sent.is_file()
        assert (to / "videos" / "yawning" / "a.mp4").read_bytes() == video + b"yawning"
        listed = read_annotations("moments", to / "annotations")
        assert listed.classes == ["aiming", "yawning"] and len(find_videos(listed, to / "videos")[0]) == 3
        shutil.rmtree(to)
    assert not [path for path in server.got() if path != "/sent.zip"]


def test_nothing_in_an_archive_decides_where_it_goes(tmp_path, video):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(tar_of({"b/x.mp4": video}, links={"x.mp4": "/etc/passwd", "b": "/tmp"}))
    assert [each.name for each in members(path)] == ["b/x.mp4"]  # links are passed over
    for name in ("../x.mp4", "b/../../x.mp4"):
        path.write_bytes(tar_of({name: video}))
        with pytest.raises(ArchiveError, match="a.tar.gz: holds .*leads out of it"):
            list(members(path))
    whole = tar_of({"x.mp4": video, "y.mp4": video})
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArchiveError, match="a.tar.gz: damaged or cut off"):
        for each in members(path):
            each.copy_to(tmp_path / "out")
    path.write_bytes(PAGE)
    with pytest.raises(ArchiveError, match="no archive"):
        list(members(path))


def test_what_is_not_what_was_published_is_not_kept(ucf101, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "RAR_TOOLS", ())
    entry = yaml.safe_load((tmp_path / "addresses.yaml").read_text())["ucf101"]
    entry["archives"][0]["instead"] |= {"sha256": "0" * 64}
    addresses(ucf101, monkeypatch, tmp_path / "other.yaml", "ucf101", **entry)
    found = fetch("ucf101", tmp_path / "videos", tmp_path / "annotations")
    assert found.kept == 0 and "its sha256 is" in found.failed[0] and "damaged or another file" in found.failed[0]
    entry["lists"][0]["bytes"] += 1
    addresses(ucf101, monkeypatch, tmp_path / "third.yaml", "ucf101", **entry)
    with pytest.raises(DataError, match=r"lists.zip: not what it should be: it has .* that are published"):
        fetch("ucf101", tmp_path / "again", tmp_path / "lists")


def test_every_data_set_has_an_address_or_a_page(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("ACTLIB_ADDRESSES", raising=False)
    found = all_addresses()
    assert set(found) == set(list_datasets())
    for entry in found.values():
        assert entry.page.startswith("http") and entry.license and entry.citation
        assert entry.is_open != bool(entry.how), entry.name
    fetched = {name for name, entry in found.items() if entry.is_open}
    assert fetched == {"ucf101", "hmdb51", "kinetics400", "kinetics600", "kinetics700"}
    assert find_addresses("ucf101").archives[0].bytes == 6_932_971_618
    assert main(["data"]) == 0 and capsys.readouterr().out.count("http") == len(found)
    (tmp_path / "bad.yaml").write_text("ucf101: {page: x, licence: y, citation: z}")
    monkeypatch.setenv("ACTLIB_ADDRESSES", str(tmp_path / "bad.yaml"))
    assert main(["data", "list"]) == 2 and "license" in capsys.readouterr().err


def test_notebook_01_fetches_first(ucf101, run_notebook, root, tmp_path):
    del ucf101.files["/UCF101.rar"]  # so its zip comes, whether rars can be unpacked here or not
    places = {"annotations": tmp_path / "lists", "data_root": tmp_path / "videos", "run_dir": tmp_path / "run"}
    values = {"source": "annotations", "dataset": "ucf101", "fetch": True, "measure": [], "num_workers": 1}
    values |= {name: str(path) for name, path in places.items()}
    with pytest.raises(ValueError, match="fetch.*needs source annotations"):
        DataPrepParams(**values | {"source": "synthetic"})
    assert DataPrepParams(**values).missing_inputs(tmp_path) == {}
    notebook = json.loads((root / "notebooks" / "01_data_prep.ipynb").read_text())
    where = f"import os; os.environ['ACTLIB_ADDRESSES'] = {str(tmp_path / 'addresses.yaml')!r}"
    cell = {"cell_type": "code", "id": "where", "metadata": {}, "execution_count": None, "outputs": [], "source": where}
    notebook["cells"].insert(0, cell)
    (tmp_path / "01_data_prep.ipynb").write_text(json.dumps(notebook))
    executed = run_notebook(tmp_path / "01_data_prep.ipynb", values)
    info = json.loads((tmp_path / "run" / "dataset.json").read_text())
    assert (info["license"], info["citation"]) == ("Free as the wind.", "Who: What. When.")
    assert info["videos"]["training"]["readable"] == info["videos"]["validation"]["readable"] == 1
    assert "Free as the wind." in json.dumps(executed)
