"""What `apps/slicer` asks of 3D Slicer, stood in for: a scene of nodes, volumes saved and loaded by ITK, no Qt."""

import importlib.util
import sys
import types
from pathlib import Path

import itk
import numpy as np

MODULE = Path(__file__).parents[1] / "apps" / "slicer" / "KernelTranslation.py"


class Display:
    """Window and level."""

    def __init__(self, window=400.0, level=40.0):
        self.window, self.level, self.automatic = window, level, True

    def GetWindow(self):  # noqa: N802 - Slicer's names, here and below
        return self.window

    def GetLevel(self):  # noqa: N802
        return self.level

    def SetAutoWindowLevel(self, automatic):  # noqa: N802
        self.automatic = automatic

    def SetWindowLevel(self, window, level):  # noqa: N802
        self.window, self.level = window, level


class Volume:
    """A scalar volume: an ITK image, whose axes point to left, back and head, as in Slicer's files."""

    def __init__(self, image, name, transform=None, display=None):
        self.image, self.name, self.transform, self.display, self.storage = image, name, transform, display, None

    def GetName(self):  # noqa: N802
        return self.name

    def GetTransformNodeID(self):  # noqa: N802
        return self.transform

    def SetAndObserveTransformNodeID(self, transform):  # noqa: N802
        self.transform = transform

    def GetDisplayNode(self):  # noqa: N802
        return self.display

    def CreateDefaultDisplayNodes(self):  # noqa: N802
        self.display = self.display or Display()

    def GetStorageNode(self):  # noqa: N802
        return self.storage


class Scene:
    """All volumes, and the folder of the data tree that each lies in."""

    def __init__(self):
        self.volumes, self.folders = [], {}

    def add(self, volume, folder="top"):
        self.volumes.append(volume)
        self.folders[volume.name] = folder
        return volume

    def RemoveNode(self, node):  # noqa: N802
        for volume in self.volumes:
            if volume.storage is node:
                volume.storage = None

    # the data tree
    def GetItemByDataNode(self, volume):  # noqa: N802
        return volume.name

    def GetItemParent(self, item):  # noqa: N802
        return self.folders[item]

    def SetItemParent(self, item, parent):  # noqa: N802
        self.folders[item] = parent


def load(monkeypatch):
    """The module, imported beside stand-ins, and the scene that it works on."""
    scene = Scene()

    def save(volume, path, properties):
        itk.imwrite(volume.image, path, compression=bool(properties["useCompression"]))
        return True

    def read(path, properties):
        assert not properties.get("labelmap")
        volume = scene.add(Volume(itk.imread(path), properties["name"]))
        volume.storage = path
        return volume

    slicer = types.ModuleType("slicer")
    slicer.mrmlScene = scene
    slicer.util = types.SimpleNamespace(saveNode=save, loadVolume=read)
    slicer.vtkMRMLSubjectHierarchyNode = types.SimpleNamespace(GetSubjectHierarchyNode=lambda scene: scene)
    scripted = types.ModuleType("slicer.ScriptedLoadableModule")
    for name in ("ScriptedLoadableModule", "ScriptedLoadableModuleLogic", "ScriptedLoadableModuleWidget"):
        setattr(scripted, name, type(name, (), {}))
    stand_ins = {"slicer": slicer, "slicer.ScriptedLoadableModule": scripted}
    for name, module in {**stand_ins, "qt": types.ModuleType("qt"), "ctk": types.ModuleType("ctk")}.items():
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("KernelTranslation", MODULE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, scene


def oblique_image(voxels, spacing=(0.9, 0.9, 3.0), origin=(-120.5, 40.25, 7.0), degrees=10.0):
    """An ITK image of voxels `(x, y, z)` whose axes are along none of the patient's."""
    image = itk.image_from_array(np.ascontiguousarray(voxels.T))
    a = np.deg2rad(degrees)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]))
    return image


def geometry(image):
    """Origin, spacing and direction in one array."""
    direction = itk.array_from_matrix(image.GetDirection())
    return np.concatenate([np.ravel(part) for part in (image.GetOrigin(), image.GetSpacing(), direction)])
