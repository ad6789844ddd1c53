"""`python -m tests.localcluster.node FILE`: run a node as a JSON file describes it."""

import json
import sys
from pathlib import Path

from tests.localcluster.node.agent import Agent
from tests.localcluster.node.api import Api
from tests.localcluster.node.images import Image
from tests.localcluster.node.pod import NodeSettings


def main(file: Path) -> None:
    """Run until killed; the pods' processes are for the namespace's end to take."""
    said = json.loads(file.read_text(encoding="utf-8"))
    images = {name: Image.from_json(image) for name, image in said["images"].items()}
    settings = NodeSettings(
        directory=Path(said["directory"]),
        logs=Path(said["logs"]),
        images=images,
        volume_seconds=said["volume_seconds"],
    )
    api = Api(said["address"], ca=Path(said["ca"]), token=said["token"])
    Agent(api, name=said["name"], settings=settings).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
