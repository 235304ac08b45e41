"""The configs for several GPUs run, on as many processes as there are GPUs; without a GPU on two, on the CPU.

In the model zoo's form: from the zoo's folder, with the bundle in `models/ct_kernel_translation_gan`.
"""

import os
import subprocess
import sys
import unittest

import torch
from test_ct_kernel_translation_gan import BUNDLE, TRAINING, TestCTKernelTranslationGAN

GPUS = torch.cuda.device_count()


class TestCTKernelTranslationGANMGPU(unittest.TestCase):
    setUp = TestCTKernelTranslationGAN.setUp
    tearDown = TestCTKernelTranslationGAN.tearDown

    def run_configs(self, config, overlay, **override):
        command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={GPUS or 2}"]
        # by the loopback address: a container may not know its own name
        command += ["--rdzv_backend=c10d", "--rdzv_endpoint=127.0.0.1:0", "--local_addr=127.0.0.1"]
        command += ["-m", "monai.bundle", "run", "--config_file", f"['configs/{config}','configs/{overlay}']"]
        override.update(dataset_dir=str(self.folder / "scans"), output_dir=str(self.folder / "output"))
        for key, value in override.items():
            command += [f"--{key}", str(value)]
        # torchrun gives every process its own place among the others
        alone = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        env = {key: value for key, value in os.environ.items() if key not in alone}
        subprocess.run(command, cwd=BUNDLE, env=env, check=True)

    def test_infer_config(self):
        self.run_configs("inference.json", "multi_gpu_inference.json", tile_size=32)
        results = sorted(path.name for path in (self.folder / "output").glob("*.nii.gz"))
        self.assertEqual(results, ["scan_0_translated.nii.gz", "scan_1_translated.nii.gz"])

    def test_train_config(self):
        self.run_configs("train.json", "multi_gpu_train.json", **TRAINING)
        self.assertTrue((self.folder / "output" / "scale_3.pt").is_file())


# unittest also loads what is imported by name
del TestCTKernelTranslationGAN


if __name__ == "__main__":
    unittest.main()
