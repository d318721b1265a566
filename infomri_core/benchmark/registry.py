"""All benchmarks by name."""

from infomri_core.benchmark.benchmark import Benchmark
from infomri_core.benchmark.infomri_table1 import InfoMRITable1
from infomri_core.benchmark.infomri_table4 import InfoMRITable4
from infomri_core.benchmark.prom_table1 import ProMTable1
from infomri_core.benchmark.segmentation import InfoMRISegmentation

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (ProMTable1(), InfoMRITable1(), InfoMRITable4(), InfoMRISegmentation())
}
