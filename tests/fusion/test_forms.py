"""What stands for absent clips in the authors' forms, which have no tokens by themselves."""

import pytest
import torch
from torch import nn

from avfusion.fusion.base import StreamEncoder
from avfusion.fusion.contract import AUDIO_DIM, VISUAL_DIM, Case
from tests.fusion.forms import FORMS


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_an_absent_clip_is_its_streams_token_and_no_more(form: str) -> None:
    name, options = FORMS[form]
    case = Case(name, options=options)
    batch = case.batch
    stand_ins = {width: nn.functional.normalize(torch.randn(width), dim=0) for width in (AUDIO_DIM, VISUAL_DIM)}
    tokens = [module for module in case.model.modules() if "missing" in dict(module.named_parameters(recurse=False))]
    assert len(tokens) == 2
    for module in tokens:
        if isinstance(module, StreamEncoder):
            module.missing.copy_(module.linear(stand_ins[module.linear.in_features]))
        else:
            module.missing.copy_(stand_ins[len(module.missing)])
    seen = dict(batch)
    for stream, width in (("audio", AUDIO_DIM), ("visual", VISUAL_DIM)):
        present = batch[f"{stream}_present"]
        seen[stream] = torch.where(present[..., None], batch[stream], stand_ins[width])
        seen[f"{stream}_present"] = torch.ones_like(present)
    absent, stood_in = case.predict(batch), case.predict(seen)
    torch.testing.assert_close(absent[case.used], stood_in[case.used], atol=1e-5, rtol=1e-5)
    assert (absent[case.used] - case.predict({**seen, "visual": batch["visual"]})[case.used]).abs().max() > 1e-4
