"""The original router's configuration, in both of its styles, as ours."""

from typing import Any

import pytest
from tests.policies import make_signals

from routewright.config import load_yaml
from routewright.errors import ConfigError
from routewright.policy.checks import check_labels, check_policy
from routewright.policy.conditions import KeywordMatch, Rule
from routewright.policy.decision import decide
from routewright.policy.settings import parse_policy
from routewright.policy.vllm_sr import Imported, import_policy
from routewright.tasks import BUILT_IN

DECISIONS = """
semantic_cache: {enabled: true, similarity_threshold: 0.8, max_entries: 1000, ttl_seconds: 3600}
tools: {enabled: true, top_k: 3, similarity_threshold: 0.2, tools_db_path: tools_db.json,
        fallback_to_empty: true}
prompt_guard: {enabled: true, model_id: models/jailbreak, threshold: 0.7}
classifier:
  category_model: {model_id: models/category, threshold: 0.6}
  pii_model: {model_id: models/pii, threshold: 0.9}
auto_model_name: MoM
vllm_endpoints:
  - {name: one, address: 10.0.0.1, port: 8000, weight: 1}
  - {name: two, address: "fd00::2", port: 8000, weight: 3}
model_config:
  qwen3:
    reasoning_family: qwen3
    preferred_endpoints: [one, two]
    access_key: canary-7f3a
    pricing: {currency: USD, prompt_per_1m: 0.1, completion_per_1m: 0.3}
    loras: [{name: law-lora}]
  phi-4: {preferred_endpoints: [one]}
keyword_rules:
  - {name: urgent, operator: OR, keywords: [asap, urgent], case_sensitive: false}
embedding_rules:
  - {name: support, threshold: 0.7, candidates: [reset my password], aggregation_method: max}
categories:
  - {name: stem, description: x, mmlu_categories: [math, physics]}
  - {name: law}
decisions:
  - name: stem
    priority: 100
    rules:
      operator: AND
      conditions: [{type: domain, name: stem}, {type: keyword, name: urgent}]
    modelRefs: [{model: qwen3, use_reasoning: true, reasoning_effort: high}]
    plugins:
      - {type: system_prompt, configuration: {system_prompt: Be exact., mode: replace}}
      - {type: pii, configuration: {enabled: true, pii_types_allowed: [PERSON, LOCATION]}}
      - {type: jailbreak, configuration: {enabled: true, threshold: 0.65}}
      - {type: header_mutation, configuration: {add: [{name: x-a, value: b}]}}
  - name: contracts
    priority: 50
    rules:
      operator: OR
      conditions: [{type: domain, name: law}, {type: embedding, name: support}]
    modelRefs: [{model: qwen3, lora_name: law-lora, use_reasoning: false}]
  - name: support
    rules:
      operator: AND
      conditions: [{type: embedding, name: support}, {type: domain, name: law}]
    modelRefs: [{model: phi-4}]
strategy: priority
default_model: phi-4
reasoning_families: {qwen3: {type: chat_template_kwargs, parameter: enable_thinking}}
default_reasoning_effort: low
observability: {tracing: {enabled: true}}
"""

CATEGORIES = """
prompt_guard: {enabled: false}
vllm_endpoints:
  - {name: one, address: 127.0.0.1, port: 11434, models: [phi4, mistral], weight: 1}
model_config:
  phi4: {pii_policy: {allow_by_default: false, pii_types_allowed: [EMAIL_ADDRESS]}}
  mistral: {pii_policy: {allow_by_default: true}}
categories:
  - name: math
    reasoning_effort: high
    system_prompt: You are a mathematician.
    jailbreak_enabled: true
    semantic_cache_enabled: true
    model_scores:
      - {model: phi4, score: 0.7, use_reasoning: true}
      - {model: mistral, score: 0.9, use_reasoning: false}
  - name: general_chat
    model_scores: [{model: mistral, score: 1.0}]
default_model: mistral
"""

SERVER = "vllm_endpoints: [{name: one, address: a, models: [m, n]}]\ndefault_model: m\n"
TOOLS = [
    {
        "tool": {
            "type": "function",
            "function": {"name": "get_weather", "parameters": {"type": "object"}},
        },
        "description": "Weather now",
        "category": "weather",
        "tags": ["weather", "forecast"],
    }
]


def imported(text: str, **arguments: Any) -> Imported:
    return import_policy(load_yaml(text), source="old.yaml", **arguments)


@pytest.mark.parametrize("text", [DECISIONS, CATEGORIES])
def test_the_result_passes_every_check(text: str) -> None:
    policy = parse_policy(imported(text).data, source="new.yaml")
    assert not [w for w in check_policy(policy, source="new") if "never fire" in w]
    assert check_labels(policy, BUILT_IN, source="new.yaml") == []


def test_decisions_models_and_guards_mean_the_same() -> None:
    policy = parse_policy(imported(DECISIONS, tools=TOOLS).data, source="new.yaml")
    assert policy.auto_models == ("MoM", "auto")
    assert [e.url for e in policy.models["qwen3"].endpoints] == [
        "http://10.0.0.1:8000",
        "http://[fd00::2]:8000",
    ]
    assert policy.models["qwen3/law-lora"].served_name == "law-lora"
    assert [t.name for t in policy.tools.catalogue] == ["get_weather"]
    taken = decide(make_signals("asap: 2 + 2", domain=("physics", 0.8)), policy)
    assert (taken.name, taken.model, taken.effort) == ("stem", "qwen3", "high")
    types = ["PERSON", "US_SSN"]
    [_, pii] = decide(make_signals("asap", domain=("math", 0.8), types=types), policy).guards
    assert pii.types == {"PERSON": "allow", "US_SSN": "block"}
    [_, pii] = decide(make_signals(types=types), policy).guards
    assert pii.action == "allow"
    law = decide(make_signals(domain=("law", 0.8)), policy)
    assert (law.name, law.model, law.reasoning) == ("contracts", "qwen3/law-lora", False)
    assert decide(make_signals(domain=("law", 0.5)), policy).kind == "abstained"
    assert decide(make_signals(attack=0.9), policy).blocked


def test_the_older_style_means_the_same() -> None:
    policy = parse_policy(imported(CATEGORIES).data, source="new.yaml")
    taken = decide(make_signals(domain=("math", 0.3), attack=0.9), policy)
    assert (taken.name, taken.model, taken.reasoning) == ("math", "mistral", False)
    assert taken.blocked
    assert not decide(make_signals(attack=0.9), policy).blocked
    named = make_signals(types=["EMAIL_ADDRESS", "PERSON"], requested_model="phi4")
    [_, pii] = decide(named, policy).guards
    assert pii.types == {"EMAIL_ADDRESS": "allow", "PERSON": "block"}


@pytest.mark.parametrize(
    "scores",
    [
        "{m: 0.4, n: 0.9}",
        "{m: {score: 0.4}, n: {score: 0.9, use_reasoning: true}}",
        "[{model: m, score: 0.4}, {model: n, score: 0.9, use_reasoning: true}]",
    ],
)
def test_scores_by_model_mean_what_a_list_of_them_means(scores: str) -> None:
    settings = "model_config: {n: {reasoning_family: qwen3}}\n"
    category = f"categories: [{{name: math, use_reasoning: true, model_scores: {scores}}}]"
    result = imported(f"{SERVER}{settings}{category}")
    policy = parse_policy(result.data, source="new.yaml")
    taken = decide(make_signals(domain=("math", 0.8)), policy)
    assert (taken.name, taken.model, taken.reasoning) == ("math", "n", True)
    assert result.notes == ()


RULES = "rules: {conditions: [{type: domain, name: law}]}"


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("categories: [{name: math, model_scores: m}]", "categories.math.model_scores: has"),
        ("categories: [{name: math, model_scores: m}]", "categories.math: is left out"),
        (
            "categories: [{name: math, model_scores: [m]}]",
            "categories.math.model_scores.0: has",
        ),
        (
            "categories: [{name: math, model_scores: {m: high}}]",
            "categories.math.model_scores.m.score: has no equivalent: 'high' is no score; a",
        ),
        (
            "categories: [{name: math, model_scores: {m: -0.5, n: 1}}]",
            "categories.math.model_scores.m.score: has no equivalent: -0.5 is no score; a",
        ),
        (
            "categories: [{name: math, model_scores: {m: .nan, n: 1}}]",
            "categories.math.model_scores.m.score: has no equivalent: nan is no score; a",
        ),
        (
            "categories: [{name: math, model_scores: {m: .inf, n: 1}}]",
            "categories.math.model_scores.m.score: has no equivalent: inf is no score; a",
        ),
        (
            "categories: [{name: math, model_scores: {m: {score: 1, cost: 2}}}]",
            "categories.math.model_scores.m.cost: has no equivalent",
        ),
        (f"decisions: [{{name: a, {RULES}, modelRefs: m}}]", "decisions.a.modelRefs: has no"),
        (
            f"decisions: [{{name: a, {RULES}, modelRefs: [{{model: m, weight: 3}}]}}]",
            "decisions.a.modelRefs.m.weight: has no equivalent",
        ),
        (
            f"decisions: [{{name: a, {RULES}, plugins: pii, modelRefs: [{{model: m}}]}}]",
            "decisions.a.plugins: has no equivalent",
        ),
        (
            "decisions: [{name: a, plugins: [{type: pii, configuration: {method: x}}]}]",
            "decisions.a.plugins.pii.method: has no equivalent",
        ),
        (
            "decisions: [{name: a, rules: {conditions: [{type: domain, least: 1}]}}]",
            "decisions.a.rules.conditions.0.least: has no equivalent",
        ),
        (
            "decisions: [{name: a, rules: {operator: XOR}}]",
            "decisions.a.rules.operator: has no",
        ),
        ("keyword_rules: [{name: a, operator: XOR}]", "keyword_rules.a.operator: has no"),
        ("model_config: {m: fast}", "model_config.m: has no equivalent"),
        ("model_config: {m: {loras: x}}", "model_config.m.loras: has no equivalent"),
        ("model_config: {m: {pricing: {per_call: 1}}}", "model_config.m.pricing.per_call: has"),
        ("model_config: {m: {pii_policy: {at: 1}}}", "model_config.m.pii_policy.at: has no"),
    ],
)
def test_what_cannot_be_read_is_listed_and_never_dropped(text: str, note: str) -> None:
    result = imported(f"{SERVER}{text}")
    parse_policy(result.data, source="new.yaml")
    assert [line for line in result.notes if line.startswith(note)], result.notes


def test_settings_of_a_model_that_cannot_be_read_make_no_model_of_its_name() -> None:
    result = imported(f"{SERVER}model_config: {{m: {{}}, z: bad}}")
    assert set(result.data["models"]) == {"m", "n"}
    assert result.notes == ("model_config.z: has no equivalent",)


def test_a_price_that_is_not_stated_is_left_out() -> None:
    prices = "{m: {pricing: {prompt_per_1m: null, completion_per_1m: 0.3, currency: null}}}"
    result = imported(f"{SERVER}model_config: {prices}")
    assert result.data["models"]["m"]["price"] == {"completion_per_million": 0.3}
    none = "{m: {pricing: {prompt_per_1m: null}}}"
    unpriced = imported(f"{SERVER}model_config: {none}")
    assert "price" not in unpriced.data["models"]["m"]
    for one in (result, unpriced):
        parse_policy(one.data, source="new.yaml")
        assert one.notes == ()


@pytest.mark.parametrize("operator", ["", "operator: , ", "operator: null, ", "operator: '', "])
def test_rules_without_an_operator_ask_for_any_of_their_conditions(operator: str) -> None:
    conditions = "[{type: keyword, name: urgent}, {type: domain, name: law}]"
    result = imported(
        f"{SERVER}keyword_rules: [{{name: urgent, {operator}keywords: [asap, now]}}]\n"
        f"decisions: [{{name: a, rules: {{{operator}conditions: {conditions}}}, "
        "modelRefs: [{model: m}]}]"
    )
    [kept] = result.data["decisions"]
    urgent = {"keyword": {"words": ["asap", "now"], "match": "any"}}
    assert kept["rules"] == {"any": [urgent, {"domain": ["law"]}]}
    assert result.notes == ()


def test_a_tool_without_a_name_is_listed() -> None:
    tools = f"{SERVER}tools: {{enabled: true, tools_db_path: tools.json}}"
    notes = imported(tools, tools=["get_weather", {"tool": {}}, *TOOLS]).notes
    assert [note.partition(":")[2][:7] for note in notes] == [" tool 0", " tool 1"]


def test_a_condition_that_cannot_be_read_never_widens_a_rule() -> None:
    rules = "{operator: AND, conditions: [{type: domain, name: law}, urgent]}"
    result = imported(
        f"{SERVER}decisions: [{{name: a, rules: {rules}, modelRefs: [{{model: m}}]}}]"
    )
    assert "decisions" not in result.data
    assert "decisions.a.rules.conditions.1: has no" in "\n".join(result.notes)


def test_every_key_without_equivalent_is_listed() -> None:
    notes = "\n".join(imported(DECISIONS).notes)
    for path in (
        "semantic_cache.enabled: has no equivalent",
        "classifier.category_model.model_id: has no equivalent",
        "prompt_guard.threshold: 0.7 is of another model's scores",
        "embedding_rules.0.candidates: has no equivalent",
        "decisions.stem.plugins.header_mutation: has no equivalent",
        "decisions.stem.plugins.pii.pii_types_allowed: types without an equivalent: LOCATION",
        "decisions.contracts.rules: condition embedding 'support' has no equivalent",
        "decisions.support: is left out: no condition left",
        "observability.tracing.enabled: has no equivalent",
        "tools.tools_db_path: tools_db.json cannot be read",
        "model_config.qwen3.access_key: is not copied; export QWEN3_API_KEY",
    ):
        assert path in notes
    assert "categories.general_chat: the category task has no label" in "\n".join(
        imported(CATEGORIES).notes
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("pricing: 0.5", "pricing: must be a mapping, as in {KEY: VALUE}, got 0.5"),
        ("pii_policy: [PERSON]", "pii_policy: must be a mapping, as in {KEY: VALUE}, got"),
        (
            "context_size: 128k",
            "context_size: must be a number of tokens, as in 131072, got '1",
        ),
        (
            "preferred_endpoints: one",
            "preferred_endpoints: must be a list, as in [NAME], got '",
        ),
        (
            "pii_policy: {pii_types_allowed: PERSON}",
            "pii_policy.pii_types_allowed: must be a li",
        ),
    ],
)
def test_a_value_of_another_type_is_named_by_its_path(settings: str, message: str) -> None:
    text = f"vllm_endpoints: [{{name: one, address: a}}]\nmodel_config: {{m: {{{settings}}}}}"
    with pytest.raises(ConfigError) as caught:
        imported(text)
    assert str(caught.value).startswith(f"old.yaml: model_config.m.{message}")


@pytest.mark.parametrize(
    "text",
    [
        "categories: [{name: stem, mmlu_categories: math}]",
        "keyword_rules: [{name: urgent, keywords: asap}]",
        "decisions: [{plugins: [{type: pii, configuration: {pii_types_allowed: PERSON}}]}]",
        "vllm_endpoints: [{name: one, address: a, models: m}]",
    ],
)
def test_a_single_name_is_not_taken_letter_by_letter(text: str) -> None:
    other = {} if "vllm" in text else {"vllm_endpoints": [{"name": "one", "address": "a"}]}
    with pytest.raises(ConfigError, match=r"must be a list, as in \[NAME\], got"):
        import_policy({**other, "default_model": "m", **load_yaml(text)}, source="old.yaml")


def test_keyword_rules_without_a_keyword_are_left_out_with_a_note() -> None:
    rules = (
        "[{name: empty, keywords: []}, {name: blank, operator: NOR, keywords: ['', ' ']}, "
        "{name: urgent, keywords: [asap, '']}]"
    )
    decisions = "\n".join(
        f"- {{name: {name}, rules: {{operator: {operator}, conditions: [{{type: keyword, name: "
        "empty}, {type: keyword, name: urgent}]}, modelRefs: [{model: m}]}"
        for name, operator in (("either", "OR"), ("both", "AND"))
    )
    result = imported(f"{SERVER}keyword_rules: {rules}\ndecisions:\n{decisions}\n")
    [kept] = parse_policy(result.data, source="new.yaml").decisions
    assert (kept.name, kept.rules) == ("either", Rule(keyword=KeywordMatch(words=("asap",))))
    assert set(result.notes) == {
        "keyword_rules.empty: has no keywords; left out",
        "keyword_rules.blank: has no keywords; left out",
        "keyword_rules.urgent: has a blank keyword, which is left out",
        "decisions.either.rules: condition keyword 'empty' has no equivalent",
        "decisions.both.rules: condition keyword 'empty' has no equivalent",
        "decisions.both: is left out: no condition left",
    }


@pytest.mark.parametrize("family", ["phi", "[qwen3]"])
def test_a_reasoning_family_that_is_not_there_is_left_out_with_a_note(family: str) -> None:
    families = "reasoning_families: {mine: {type: reasoning_effort, parameter: effort}}\n"
    models = f"{{m: {{reasoning_family: {family}}}, n: {{reasoning_family: mine}}}}"
    result = imported(f"{SERVER}{families}model_config: {models}")
    policy = parse_policy(result.data, source="new.yaml")
    check_policy(policy, source="new.yaml")
    assert policy.models["m"].reasoning_family is None
    assert policy.models["n"].reasoning_family == "mine"
    assert f"there is no family {load_yaml(family)!r}; left out" in "\n".join(result.notes)


def test_a_key_of_a_server_is_never_copied() -> None:
    result = imported(DECISIONS)
    assert result.data["models"]["qwen3"]["api_key"] == "${QWEN3_API_KEY}"
    assert "canary" not in repr(result)


@pytest.mark.parametrize("text", ["a: 1", "vllm_endpoints: x\nmodel_config: [1]\ntools: 3"])
def test_another_kind_of_file_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"old\.yaml: .*is this a v0\.1 configuration"):
        imported(text)
