"""What clients and instrumentations really send: their documented fields, with a text to be found again.

Each payload is (metadata, what must still be there after redaction). The text stands in every place
where a prompt, an answer, an argument or a credential would.
"""

import json

TEXT = "the patient is Zarathustra Quux"
KEY = "sk-proj-Zarathustra0123456789abcdef"

CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "find", "arguments": json.dumps({"q": TEXT})},
}
TOOL = {
    "type": "function",
    "function": {"name": "find", "description": TEXT, "parameters": {"type": TEXT}},
}
MESSAGES = [
    {"role": "system", "content": TEXT},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": TEXT},
            {"type": "image_url", "image_url": {"url": TEXT}},
        ],
    },
    {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": TEXT},
    {"role": "tool", "tool_call_id": "call_1", "content": TEXT},
]
USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}

PAYLOADS = {
    "openai chat request": (
        {"model": "gpt-4o", "messages": MESSAGES, "tools": [TOOL], "stop": 3, "temperature": 0.2,
         "tool_choice": {"type": "function", "function": {"name": TEXT}}, "max_tokens": 100,
         "response_format": {"type": "json_object"}, "prediction": {"type": "content", "content": TEXT}},
        {"model": "gpt-4o", "temperature": 0.2, "max_tokens": 100, "response_format": {"type": "json_object"}},
    ),
    "openai chat response": (
        {"id": "chatcmpl-1", "object": "chat.completion", "usage": USAGE, "system_fingerprint": "fp_1",
         "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TEXT},
                      "logprobs": {"content": [{"token": TEXT, "logprob": -0.1, "bytes": [1]}]}}]},
        {"id": "chatcmpl-1", "usage": USAGE, "system_fingerprint": "fp_1"},
    ),
    "openai choice spread out": (
        {"index": 0, "finish_reason": "length", "delta": {"content": TEXT}, "logprobs": {"content": TEXT, "n": 1},
         "tokens": [TEXT, "a"]},
        {"index": 0, "finish_reason": "length"},
    ),
    "openai responses": (
        {"model": "gpt-5", "instructions": TEXT, "input": [{"role": "user", "content": TEXT}], "output_text": TEXT,
         "output": [{"type": "message", "content": [{"type": "output_text", "text": TEXT}]},
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": TEXT}], "encrypted_content": TEXT}],
         "reasoning": {"effort": "high", "summary": TEXT}, "usage": {"input_tokens": 5, "output_tokens": 6},
         "previous_response_id": "resp_1", "incomplete_details": {"reason": "max_output_tokens"}},
        {"usage": {"input_tokens": 5, "output_tokens": 6}, "previous_response_id": "resp_1",
         "incomplete_details": {"reason": "max_output_tokens"}},
    ),
    "anthropic": (
        {"model": "claude-haiku-4-5", "system": [{"type": "text", "text": TEXT}], "max_tokens": 9,
         "messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": TEXT}]}],
         "content": [{"type": "thinking", "thinking": TEXT, "signature": TEXT},
                     {"type": "tool_use", "name": "find", "input": {"q": TEXT}}],
         "stop_reason": "end_turn", "stop_sequences": [TEXT], "usage": {"input_tokens": 24, "cache_read_input_tokens": 2},
         "partial_json": TEXT, "delta": {"type": "text_delta", "text": TEXT}},
        {"stop_reason": "end_turn", "max_tokens": 9, "usage": {"input_tokens": 24, "cache_read_input_tokens": 2}},
    ),
    "litellm callback": (
        {"model": "gpt-4o", "messages": MESSAGES, "input": TEXT, "response_cost": 0.002, "cache_hit": False,
         "optional_params": {"temperature": 0.1, "tools": [TOOL], "stream": True, "user": "u1"},
         "litellm_params": {"api_key": KEY, "api_base": "https://api.openai.com", "metadata": {"run": "r1"}},
         "additional_args": {"complete_input_dict": {"messages": MESSAGES}, "headers": {"Authorization": f"Bearer {KEY}"}},
         "original_response": json.dumps({"choices": [{"message": {"content": TEXT}}]}),
         "complete_streaming_response": TEXT, "exception": f"BadRequestError: {TEXT}", "traceback_exception": TEXT,
         "standard_logging_object": {
             "id": "x", "status": "failure", "response_cost": 0.002, "total_tokens": 15, "messages": MESSAGES,
             "response": TEXT, "error_str": TEXT, "model_parameters": {"temperature": 0.1},
             "error_information": {"error_code": "400", "error_class": "BadRequestError", "error_message": TEXT,
                                   "traceback": TEXT}}},
        {"response_cost": 0.002, "cache_hit": False},
    ),
    "langchain run": (
        {"id": "r1", "name": "AgentExecutor", "run_type": "chain", "inputs": {"messages": [[{"kwargs": {"content": TEXT}}]]},
         "outputs": {"generations": [[{"text": TEXT, "message": {"content": TEXT}}]], "llm_output": {"x": TEXT}},
         "serialized": {"id": ["langchain"], "kwargs": {"prompt": {"template": TEXT}}}, "tags": ["t1"],
         "extra": {"invocation_params": {"model": "m", "temperature": 0.5}},
         "events": [{"name": "new_token", "kwargs": {"token": TEXT}}], "error": f"ValueError('{TEXT}')Traceback …",
         "intermediate_steps": [[{"tool": "find", "tool_input": TEXT, "log": TEXT}, TEXT]],
         "child_runs": [{"outputs": {"output": TEXT}, "child_runs": []}], "return_values": {"output": TEXT}},
        {"id": "r1", "name": "AgentExecutor", "run_type": "chain", "tags": ["t1"],
         "extra": {"invocation_params": {"model": "m", "temperature": 0.5}}},
    ),
    "otel genai": (
        {"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o",
         "gen_ai.usage.input_tokens": 12, "gen_ai.input.messages": json.dumps(MESSAGES), "gen_ai.output.messages": [TEXT],
         "gen_ai.system_instructions": TEXT, "gen_ai.tool.definitions": json.dumps([TOOL]), "gen_ai.tool.name": "find",
         "gen_ai.tool.call.arguments": {"q": TEXT}, "gen_ai.tool.call.result": TEXT, "exception.message": TEXT,
         "exception.type": "ValueError", "exception.stacktrace": TEXT, "gen_ai.evaluation.explanation": TEXT,
         "gen_ai.retrieval.query.text": TEXT, "db.query.text": TEXT, "db.statement": TEXT, "error.type": "timeout"},
        {"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o",
         "gen_ai.usage.input_tokens": 12, "exception.type": "ValueError", "gen_ai.tool.name": "find",
         "error.type": "timeout"},
    ),
    "otel flattened": (
        {"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": TEXT, "gen_ai.completion.0.content": TEXT,
         "gen_ai.completion.0.finish_reason": "stop", "gen_ai.completion.0.tool_calls.0.arguments": TEXT,
         "llm.prompts.0.content": TEXT, "llm.completions.0.content": TEXT, "llm.usage.total_tokens": 15,
         "gen_ai.prompt.1.tool_calls.0.name": "find"},
        {"gen_ai.prompt.0.role": "user", "gen_ai.completion.0.finish_reason": "stop", "llm.usage.total_tokens": 15,
         "gen_ai.prompt.1.tool_calls.0.name": "find"},
    ),
    "openinference": (
        {"openinference.span.kind": "LLM", "input.value": TEXT, "input.mime_type": "text/plain", "output.value": TEXT,
         "llm.model_name": "gpt-4o", "llm.input_messages.0.message.role": "user",
         "llm.input_messages.0.message.content": TEXT, "llm.output_messages.0.message.contents.0.message_content.text": TEXT,
         "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": TEXT, "llm.token_count.prompt": 12,
         "llm.prompt_template.template": TEXT, "llm.prompt_template.variables": json.dumps({"who": TEXT}),
         "llm.prompt_template.version": "v1", "retrieval.documents.0.document.content": TEXT,
         "retrieval.documents.0.document.score": 0.7, "embedding.embeddings.0.embedding.text": TEXT,
         "tool.parameters": json.dumps({"q": TEXT}), "llm.function_call": TEXT, "message.content": TEXT},
        {"input.mime_type": "text/plain", "llm.model_name": "gpt-4o", "llm.token_count.prompt": 12,
         "llm.input_messages.0.message.role": "user", "llm.prompt_template.version": "v1",
         "retrieval.documents.0.document.score": 0.7},
    ),
    "traceloop": (
        {"traceloop.span.kind": "workflow", "traceloop.entity.name": "joke", "traceloop.workflow.name": "w",
         "traceloop.entity.input": json.dumps({"args": [TEXT]}), "traceloop.entity.output": TEXT,
         "traceloop.prompt.template": TEXT, "llm.request.type": "chat"},
        {"traceloop.span.kind": "workflow", "traceloop.entity.name": "joke", "llm.request.type": "chat"},
    ),
    "written otherwise": (
        {"promptText": TEXT, "systemPrompt": TEXT, "toolCalls": [{"x": TEXT}], "user-prompt": TEXT, "PROMPT_TEXT": TEXT,
         "userMessage": TEXT, "rawResponse": {"x": TEXT}, "final_answer": TEXT, "modelOutput": TEXT, "toolcalls": TEXT,
         "Prompt": TEXT, "messages[0].content": TEXT, "prompt_1": TEXT, "response_json": TEXT, "inputText": TEXT,
         "results": [{"title": TEXT}], "result": TEXT, "llm/prompt": TEXT, "ｐｒｏｍｐｔ": TEXT, "promptId": "p-7",
         "prompt_length": 31, "responseTimeMs": 5, "input_size": 3, "prompt_name": "greeting"},
        {"promptId": "p-7", "prompt_length": 31, "responseTimeMs": 5, "input_size": 3, "prompt_name": "greeting"},
    ),
    "data in texts": (
        {"note": json.dumps({"prompt": TEXT, "n": 5}), "as_repr": str({"messages": MESSAGES}), "cut": '{"prompt": "' + TEXT,
         "object": f"ChatCompletion(id='1', message=Message(content='{TEXT}'))", "said": f"sent {{'content': '{TEXT}'}}",
         "twice": json.dumps({"inner": json.dumps({"prompt": TEXT})}), "plain": '{"temperature": 0.5}'},
        {"plain": '{"temperature": 0.5}'},
    ),
    "credentials": (
        {"api_key": KEY, "apiKey": KEY, "x-api-key": KEY, "Authorization": f"Bearer {KEY}", "access_token": KEY,
         "token": KEY, "password": TEXT, "client_secret": TEXT, "Set-Cookie": TEXT, "cookies": {"sid": TEXT},
         "headers": {"X-Custom": TEXT}, "aws_secret_access_key": TEXT, "dsn": TEXT, "credentials": {"a": TEXT},
         "note": f"called with Bearer {KEY} in it", "url": f"https://user:{KEY}@host/path?api_key={KEY}&n=5", "error": KEY,
         "tokens": {"prompt": 12, "completion": 3}, "token_count": 15, "max_tokens": 100, "key": "k1"},
        {"tokens": {"prompt": 12, "completion": 3}, "token_count": 15, "max_tokens": 100, "key": "k1"},
    ),
}  # fmt: skip
