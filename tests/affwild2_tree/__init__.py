"""A corpus of Aff-Wild2's shape with every irregularity of the real one, made from rendered videos."""

from tests.affwild2_tree.annotations import EDITION, LATER_EDITION, add_later_edition
from tests.affwild2_tree.tree import Tree, make_tree
from tests.affwild2_tree.videos import VIDEOS

__all__ = ["EDITION", "LATER_EDITION", "VIDEOS", "Tree", "add_later_edition", "make_tree"]
