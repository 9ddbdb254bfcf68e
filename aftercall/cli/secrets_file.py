"""The secrets that `up` and `demo` make: kept in the data directory, readable by its owner only."""

import json
import secrets
from pathlib import Path

from pydantic import SecretStr

from aftercall.private_file import private_file
from aftercall.settings import Settings, SettingsError

NAMES = ("secret_key", "admin_token", "webhook_token")
_FILE = "secrets.json"


def kept_secrets(data_dir: Path) -> dict[str, SecretStr]:
    """Those that an earlier `up` made; none when there was none."""
    path = data_dir / _FILE
    try:
        kept = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} cannot be read ({type(error).__name__}): restore it") from None
    if not isinstance(kept, dict) or not all(isinstance(value, str) for value in kept.values()):
        raise SettingsError(f"{path} does not hold what `aftercall up` wrote: restore it")
    return {name: SecretStr(kept[name]) for name in NAMES if name in kept}


def complete_secrets(settings: Settings) -> Settings:
    """The settings with every secret: the environment's, else the kept one, else one made now."""
    kept = kept_secrets(settings.data_dir)
    made = {name: SecretStr(secrets.token_urlsafe(32)) for name in NAMES if name not in kept}
    if made:
        values = {**kept, **made}
        keep_secrets(
            settings.data_dir, {name: value.get_secret_value() for name, value in values.items()}
        )
    update = {
        name: value for name, value in {**kept, **made}.items() if getattr(settings, name) is None
    }
    return settings.completed(update)


def keep_secrets(data_dir: Path, values: dict[str, str]) -> None:
    """Written whole or not at all; readable by their owner only."""
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / _FILE
    kept = {name: values[name] for name in NAMES if name in values}
    with private_file(path) as file:
        file.write(json.dumps(kept).encode())
