"""Settings of the room: the registered model."""

from typing import Annotated

from pydantic import AfterValidator

from avfusion.runtime.settings import Section


def _registered_name(name: str) -> str:
    if not name or any(sign in name for sign in "/:"):
        raise ValueError("must be a name without '/' and ':', as MLflow's registry requires")
    return name


RegisteredName = Annotated[str, AfterValidator(_registered_name)]


class RegisterSettings(Section):
    """The MLflow model registry."""

    name: RegisteredName = "avfusion"
