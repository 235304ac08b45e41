"""Every config of the bundle runs on small random scans, and has the properties that MONAI asks for.

In the model zoo's form: from the zoo's folder, with the bundle in `models/ct_kernel_translation_gan`.
"""

import shutil
import sys
import tempfile
import unittest
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.bundle import ConfigWorkflow

BUNDLE = Path("models/ct_kernel_translation_gan").resolve()
SHAPE = (56, 48, 24)
AFFINE = np.diag([1.5, 1.5, 4.0, 1.0])
TRAINING = {
    "scale": 3,
    "max_epochs": 1,
    "iterations_per_epoch": 1,
    "batch_size": 1,
    "patch#patch_size": 12,
    "validate#dataset#number": 1,
    "train#dataloader#num_workers": 0,
    "num_folds": 2,
    "progress": False,
}


def make_scans(folder, number=2):
    """Write scans in HU: two lungs in a box of soft tissue, and noise."""
    folder.mkdir()
    across, along, _ = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    lungs = ((np.abs(across) - 0.45) / 0.3) ** 2 + (along / 0.7) ** 2 < 1
    for seed in range(number):
        noise = np.random.default_rng(seed).normal(0, 30, SHAPE)
        values = (np.where(lungs, -850, 40) + noise).astype(np.int16)
        nib.save(nib.Nifti1Image(values, AFFINE), folder / f"scan_{seed}.nii.gz")


class TestCTKernelTranslationGAN(unittest.TestCase):
    def setUp(self):
        sys.path.insert(0, str(BUNDLE))
        self.folder = Path(tempfile.mkdtemp())
        make_scans(self.folder / "scans")

    def tearDown(self):
        shutil.rmtree(self.folder)
        sys.path.remove(str(BUNDLE))

    def run_config(self, config, workflow_type, properties=True, **override):
        workflow = ConfigWorkflow(
            workflow_type=workflow_type,
            config_file=str(BUNDLE / "configs" / config),
            logging_file=str(BUNDLE / "configs" / "logging.conf"),
            meta_file=str(BUNDLE / "configs" / "metadata.json"),
            bundle_root=str(BUNDLE),
            device="cpu",
            output_dir=str(self.folder / "output"),
            **override,
        )
        workflow.initialize()
        if properties:
            self.assertEqual(workflow.check_properties(), [])
        workflow.run()
        workflow.finalize()

    def test_infer_config(self):
        self.run_config("inference.json", "inference", dataset_dir=str(self.folder / "scans"), tile_size=32)
        results = sorted((self.folder / "output").glob("*.nii.gz"))
        self.assertEqual([path.name for path in results], ["scan_0_translated.nii.gz", "scan_1_translated.nii.gz"])
        for path in results:
            result = nib.load(path)
            self.assertEqual(result.shape, SHAPE)
            self.assertEqual(result.get_data_dtype(), np.int16)
            np.testing.assert_allclose(result.affine, AFFINE)

    def test_train_config(self):
        self.run_config("train.json", "train", dataset_dir=str(self.folder / "scans"), **TRAINING)
        self.assertTrue((self.folder / "output" / "scale_3.pt").is_file())

    def test_evaluate_config(self):
        # a table of methods, not one of MONAI's workflow types: only that it runs
        scans = self.folder / "scans"
        source, target = str(scans / "scan_0.nii.gz"), str(scans / "scan_1.nii.gz")
        override = {"source": source, "target": target, "tile_size": 32}
        override |= {"evaluation#slices": 4, "evaluation#only": ["ours"], "evaluation#fresh": False}
        self.run_config("evaluate.json", None, properties=False, **override)
        self.assertIn("**ours**", (self.folder / "output" / "report.md").read_text())


if __name__ == "__main__":
    unittest.main()
