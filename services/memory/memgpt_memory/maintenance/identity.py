"""The identity of a store: one row, written with a new store, and changed by migrations and moves to another model.

The row names the store's embedding model. While passages are copied for another model, it names that one too; the
switch is the write that replaces the former model by the new one. A model whose collection is no longer needed stays in
the row until the collection has been dropped. So a crash at any instant leaves a store of one model or the other, and
the row says what is left to do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from memgpt_runtime import reasons
from memgpt_runtime.ids import random_bytes

from memgpt_memory import fulltext
from memgpt_memory.clock import now
from memgpt_memory.embedding import ModelChoice, Models
from memgpt_memory.records import Record, Records
from memgpt_memory.store.layout import SCHEMA_VERSION

_ID = "store"

ModelName = tuple[str, int]
"""An embedding model's name, and the dimensions of its vectors."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of a store.

    Attributes:
        layout: Version of the layout of its collections.
        token_key: Key of the page tokens' MAC, in hexadecimal digits.
        model: The current embedding model.
        full_text: Whether its passages can be ranked by words.
        moving_to: The model for which passages are being copied, if any.
        former: Models whose collections are to be dropped.
        tokenizer: Version of the tokenizer that all rows have their words from.
    """

    layout: int
    token_key: str
    model: ModelName
    full_text: bool
    moving_to: ModelName | None = None
    former: tuple[ModelName, ...] = ()
    tokenizer: int = fulltext.VERSION

    @staticmethod
    async def read(records: Records) -> Identity | None:
        """Read the row; None for a new store. `migrations` handles rows of other layouts.

        Raises:
            FailedPrecondition: No version has written such a row.
        """
        record = await records.get(_ID)
        if record is None:
            return None
        try:
            body = json.loads(record.body)
            moving_to = body.get("moving_to")
            bytes.fromhex(body["token_key"])
            return Identity(
                layout=int(body["schema"]),
                token_key=body["token_key"],
                model=(body["embedding_model"], body["embedding_dimension"]),
                full_text=bool(body.get("full_text")),
                moving_to=(moving_to[0], moving_to[1]) if moving_to else None,
                former=tuple((name, dimension) for name, dimension in body.get("former", ())),
                tokenizer=int(body.get("tokenizer", 1)),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise reasons.wrong_state(
                "the store's identity record is damaged; restore a backup (`memgpt-memory restore`) or use another "
                "store (memory.uri)",
                resource="store",
                state="DAMAGED",
            ) from error

    @staticmethod
    def new(model: ModelName, *, full_text: bool) -> Identity:
        """Return the identity of a new store."""
        return Identity(SCHEMA_VERSION, random_bytes("store", 32).hex(), model, full_text)

    async def write(self, records: Records) -> None:
        """Write the row."""
        body = {
            "schema": self.layout,
            "token_key": self.token_key,
            "embedding_model": self.model[0],
            "embedding_dimension": self.model[1],
            "full_text": self.full_text,
            "tokenizer": self.tokenizer,
            **({"moving_to": self.moving_to} if self.moving_to else {}),
            **({"former": self.former} if self.former else {}),
        }
        await records.put(Record(_ID, "store", "", "", now(), json.dumps(body)))

    def migrated(self, layout: int) -> Identity:
        """Return the identity after a migration."""
        return replace(self, layout=layout)

    def reindexed(self) -> Identity:
        """Return the identity after all rows got the words of this version's tokenizer."""
        return replace(self, tokenizer=fulltext.VERSION)

    def begun(self, target: ModelName) -> Identity:
        """Return the identity while passages are copied for `target`."""
        return replace(self, moving_to=target)

    def abandoned(self) -> Identity:
        """Return the identity after a move was abandoned: what was copied is to be dropped."""
        return replace(self, moving_to=None, former=(*self.former, *([self.moving_to] if self.moving_to else [])))

    def switched(self, target: ModelName) -> Identity:
        """Return the identity after the switch to `target`: the former model's collection is to be dropped."""
        return replace(self, model=target, moving_to=None, former=(*self.former, self.model))

    def tidied(self) -> Identity:
        """Return the identity after unused collections were dropped."""
        return replace(self, former=())

    def choose(self, models: Models) -> ModelChoice:
        """Return the configured model that the store was made with, or was moved to.

        Raises:
            FailedPrecondition: The configuration names another model.
        """
        if models.configured.name == self.model:
            return models.configured
        target = models.target()
        if target is not None and target.name == self.model:
            return target
        name, dimension = self.model
        raise reasons.embedding_mismatch(
            f"the store was made with the embedding model {name} ({dimension} dimensions), but the configuration names "
            f"{models.configured.model} ({models.configured.dimension}); set memory.embedding, memory.embedding_model "
            "and memory.embedding_dimension to the store's model (`memgpt reembed` moves it to another one), or use "
            "another store (memory.uri)",
            stored_model=name,
            stored_dimension=dimension,
            model=models.configured.model,
            dimension=models.configured.dimension,
        )
