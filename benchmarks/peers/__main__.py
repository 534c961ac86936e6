"""One peer's work, in a process of its own: `python -m benchmarks.peers PEER MODEL DATA ARTIFACT`."""

import sys
from pathlib import Path
from typing import assert_never

from benchmarks.peers import olive, onnxruntime, openvino
from benchmarks.peers.peer import Peer


def main(peer: Peer, model: Path, data: Path, artifact: Path) -> None:
    match peer:
        case Peer.ORT_DYNAMIC:
            onnxruntime.dynamic(model, artifact)
        case Peer.ORT_STATIC:
            onnxruntime.static(model, data, artifact)
        case Peer.ORT_U8S8:
            onnxruntime.u8s8(model, data, artifact)
        case Peer.OPENVINO:
            openvino.plain(model, artifact)
        case Peer.NNCF:
            openvino.quantized(model, data, artifact)
        case Peer.OLIVE:
            olive.auto_opt(model, artifact)
        case _:
            assert_never(peer)


if __name__ == "__main__":
    main(Peer(sys.argv[1]), *map(Path, sys.argv[2:]))
