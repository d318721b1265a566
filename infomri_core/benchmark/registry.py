"""All benchmarks by name."""

from infomri_core.benchmark.benchmark import Benchmark
from infomri_core.benchmark.prom_table1 import ProMTable1

BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in (ProMTable1(),)}
