"""Requests that aiokafka's admin client lacks, through its protocol classes; each answer as plain values.

Versions are the newest without tagged fields; Kafka 2.4 to 4 know them. An answer's error becomes aiokafka's error for it.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import (
    AlterPartitionReassignmentsRequest,
    CreateAclsRequest,
    DeleteAclsRequest,
    DescribeAclsRequest,
    DescribeConfigsRequest,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

TOPIC_RESOURCE, GROUP_RESOURCE, CLUSTER_RESOURCE = 2, 3, 4
_ANY, _ALLOW, _SET = 1, 3, 0
REASSIGN_MS = 10_000
# Operations by their numbers in the protocol, and by the names that Kafka's own tools show.
OPERATIONS = {
    2: "ALL", 3: "READ", 4: "WRITE", 5: "CREATE", 6: "DELETE", 7: "ALTER", 8: "DESCRIBE", 9: "CLUSTER_ACTION",
    10: "DESCRIBE_CONFIGS", 11: "ALTER_CONFIGS", 12: "IDEMPOTENT_WRITE",
}  # fmt: skip
_NUMBERS = {name: number for number, name in OPERATIONS.items()}
RESOURCES = {TOPIC_RESOURCE: "topic", GROUP_RESOURCE: "group", CLUSTER_RESOURCE: "cluster"}
PATTERNS = {3: "literal", 4: "prefixed"}
_RESOURCE_NUMBERS = {name: number for number, name in RESOURCES.items()}
_PATTERN_NUMBERS = {name: number for number, name in PATTERNS.items()}


class Acl(NamedTuple):
    """One permission, as brokers keep it. `kind`: topic, group or cluster; `pattern`: literal or prefixed."""

    principal: str
    operation: str
    kind: str
    name: str
    pattern: str = "literal"
    host: str = "*"


@dataclass(frozen=True, slots=True)
class Layout:
    """A topic as the brokers have it. `replicas`, `in_sync`: per partition, node numbers; `led`: each partition has a
    leader; `may`: the operations that this account may do with it."""

    replicas: tuple[tuple[int, ...], ...]
    in_sync: tuple[tuple[int, ...], ...]
    led: bool
    may: frozenset[str]


class _MetadataAnswer(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8")))),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("name", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _MetadataAsked(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataAnswer
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _Metadata(Request[_MetadataAsked]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)

    def build(self, kind: type[_MetadataAsked]) -> _MetadataAsked:
        return kind(self._topics, False, False, True)  # noqa: FBT003 (never makes a topic by asking for it)


class _SettingsAnswer(Response):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "responses",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class _SettingsAsked(RequestStruct):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _SettingsAnswer
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                ("configs", Array(("name", String("utf-8")), ("operation", Int8), ("value", String("utf-8")))),
            ),
        ),
        ("validate_only", Boolean),
    )


class _Settings(Request[_SettingsAsked]):  # type: ignore[misc]
    """Changes the settings it names; the library's own request would set all others back to the broker's."""

    API_KEY = 44

    def __init__(self, topic: str, values: Mapping[str, str]) -> None:
        self._resource = (TOPIC_RESOURCE, topic, [(name, _SET, value) for name, value in values.items()])

    def build(self, kind: type[_SettingsAsked]) -> _SettingsAsked:
        return kind([self._resource], False)  # noqa: FBT003


async def load_layouts(admin: AIOKafkaAdminClient, topics: Collection[str]) -> tuple[int, dict[str, Layout | None]]:
    """How many brokers there are, and each topic that there is; None for one that this account may not see. Raises
    KafkaError."""
    answer = (await _ask(admin, _Metadata(sorted(topics)))).to_object()
    found: dict[str, Layout | None] = {}
    for each in answer["topics"]:
        kind = errors.for_code(each["error_code"])
        if kind is errors.TopicAuthorizationFailedError:
            found[each["name"]] = None
        elif kind is errors.UnknownTopicOrPartitionError:
            continue
        elif kind not in {errors.NoError, errors.LeaderNotAvailableError}:
            raise kind
        else:
            found[each["name"]] = _layout(each)
    return len(answer["brokers"]), found


def _layout(each: Mapping[str, Any]) -> Layout:
    partitions = sorted(each["partitions"], key=lambda one: int(one["partition"]))
    bits = each["authorized_operations"]
    return Layout(
        tuple(tuple(one["replicas"]) for one in partitions),
        tuple(tuple(one["isr"]) for one in partitions),
        bool(partitions) and all(one["leader"] >= 0 for one in partitions),
        frozenset(name for number, name in OPERATIONS.items() if bits >> number & 1),
    )


async def load_settings(admin: AIOKafkaAdminClient, topics: Iterable[str]) -> dict[str, dict[str, str]]:
    """Per topic its settings, without those that this account may not look at. Raises KafkaError."""
    asked = [(TOPIC_RESOURCE, topic, None) for topic in sorted(topics)]
    if not asked:
        return {}
    found = {}
    for code, _, _, topic, entries in (await _ask(admin, DescribeConfigsRequest(asked))).resources:
        kind = errors.for_code(code)
        if kind is errors.NoError:
            found[topic] = {entry[0]: entry[1] or "" for entry in entries}
        elif kind is not errors.TopicAuthorizationFailedError:
            raise kind
    return found


async def save_settings(admin: AIOKafkaAdminClient, topic: str, values: Mapping[str, str]) -> None:
    """Change these settings of a topic. Raises KafkaError."""
    for code, *_ in (await _ask(admin, _Settings(topic, values))).responses:
        _expect(code)


async def move_replicas(admin: AIOKafkaAdminClient, topic: str, replicas: Mapping[int, Sequence[int]]) -> None:
    """Begin to keep partitions on these nodes; the brokers copy in their own time. Raises KafkaError."""
    moves: list[tuple[int, list[int], dict[int, bytes]]] = [
        (number, list(nodes), {}) for number, nodes in replicas.items()
    ]
    answer = await _ask(admin, AlterPartitionReassignmentsRequest(REASSIGN_MS, [(topic, moves, {})], {}))
    _expect(answer.error_code)
    for each in answer.to_object()["responses"]:
        for partition in each["partitions"]:
            _expect(partition["error_code"])


async def load_acls(admin: AIOKafkaAdminClient) -> list[Acl]:
    """Every permission on topics and groups, and on the cluster. Raises KafkaError: `SecurityDisabled` where the brokers
    keep none."""
    answer = await _ask(admin, DescribeAclsRequest(_ANY, None, _ANY, None, None, _ANY, _ALLOW))
    _expect(answer.error_code)
    return [
        Acl(principal, OPERATIONS[operation], RESOURCES[kind], name, PATTERNS.get(pattern, "literal"), host)
        for kind, name, pattern, acls in answer.resources
        for principal, host, operation, _ in acls
        if kind in RESOURCES and operation in OPERATIONS
    ]


async def create_acl(admin: AIOKafkaAdminClient, acl: Acl) -> None:
    """Raises KafkaError."""
    for code, *_ in (await _ask(admin, CreateAclsRequest(*_numbered(acl)))).creation_responses:
        _expect(code)


async def delete_acl(admin: AIOKafkaAdminClient, acl: Acl) -> None:
    """Raises KafkaError."""
    for code, *_ in (await _ask(admin, DeleteAclsRequest(*_numbered(acl)))).filter_responses:
        _expect(code)


def _numbered(acl: Acl) -> tuple[int, str, int, str, str, int, int]:
    return (
        _RESOURCE_NUMBERS[acl.kind], acl.name, _PATTERN_NUMBERS[acl.pattern], acl.principal, acl.host,
        _NUMBERS[acl.operation], _ALLOW,
    )  # fmt: skip


def _expect(code: int) -> None:
    kind = errors.for_code(code)
    if kind is not errors.NoError:
        raise kind


async def _ask(admin: AIOKafkaAdminClient, request: Request[Any]) -> Any:
    """Any broker takes these and passes on what is its controller's; one that does not answer is passed over."""
    # The library has no public way for a request of one's own.
    nodes = [broker.nodeId for broker in admin._client.cluster.brokers()]  # noqa: SLF001
    random.shuffle(nodes)
    for node in nodes[:-1]:
        try:
            return await admin._send_request(request, node)  # noqa: SLF001
        except (errors.KafkaConnectionError, errors.NodeNotReadyError, errors.RequestTimedOutError):
            continue
    return await admin._send_request(request, *nodes[-1:])  # noqa: SLF001
