"""The class name and nothing else: the label in words, a control that leaves out all that a caption may add to it."""

from __future__ import annotations

from vecaf.models.captioners import base
from vecaf.models.captioners.class_names import noun


@base.register("class_name")
class ClassName(base.Captioner):
    """Captions such as “sea horse”."""

    needs_images = False

    def caption(self, images, labels, classes, ids):
        """Return the name of each label; see the base class."""
        return [noun(classes[label]) for label in labels]
