-- Dumps Letta's database (0.4 to 0.16) as JSON lines, one file per table, into the current folder:
--
--     psql -XAtq -f letta.sql "postgresql://letta:letta@localhost/letta"
--
-- It only reads. Tables and columns that this version of the database does not have are passed over. Embeddings, keys,
-- tokens and environment variables are not read.

\set ON_ERROR_STOP on
\pset format unaligned
\pset tuples_only on
SET client_encoding = 'UTF8';
BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- `:rows` writes the statement that dumps :table, which \gexec then runs; `:count` the one that counts its rows.
\set live 'CASE WHEN EXISTS (SELECT FROM information_schema.columns AS c WHERE c.table_schema = current_schema() AND c.table_name = :''table'' AND c.column_name = ''is_deleted'') THEN '' WHERE is_deleted IS NOT TRUE'' ELSE '''' END'
\set rows 'SELECT format(''SELECT row_to_json(t) FROM (SELECT %s FROM %I%s) AS t'', string_agg(quote_ident(column_name), '', '' ORDER BY ordinal_position), table_name, :live) FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = :''table'' AND column_name = ANY (string_to_array(:''columns'', '' '')) GROUP BY table_name'
\set count 'SELECT format(''SELECT json_build_object(''''table'''', %L, ''''count'''', count(*)) FROM %I%s'', table_name, table_name, :live) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = :''table'''

\set table agents
\set columns 'id name system agent_type description message_ids memory llm_config embedding_config metadata_ timezone tools tool_names tool_rules multi_agent_group created_at'
\o agents.jsonl
:rows \gexec

\set table agents_tags
\set columns 'agent_id tag'
\o agents_tags.jsonl
:rows \gexec

\set table block
\set columns 'id label name value limit description read_only metadata_ template is_template template_name'
\o block.jsonl
:rows \gexec

\set table blocks_agents
\set columns 'agent_id block_id block_label'
\o blocks_agents.jsonl
:rows \gexec

\set table blocks_conversations
\set columns 'conversation_id block_id block_label'
\o blocks_conversations.jsonl
:rows \gexec

\set table messages
\set columns 'id agent_id role text content tool_calls tool_call_id tool_returns name model approvals group_id conversation_id sequence_id created_at'
\o messages.jsonl
:rows \gexec

\set table conversations
\set columns 'id agent_id summary created_at'
\o conversations.jsonl
:rows \gexec

\set table conversation_messages
\set columns 'conversation_id agent_id message_id position in_context'
\o conversation_messages.jsonl
:rows \gexec

\set table archives
\set columns 'id name description'
\o archives.jsonl
:rows \gexec

\set table archives_agents
\set columns 'agent_id archive_id is_owner'
\o archives_agents.jsonl
:rows \gexec

\set table archival_passages
\set columns 'id archive_id text tags metadata_ created_at'
\o archival_passages.jsonl
:rows \gexec

\set table agent_passages
\set columns 'id agent_id text metadata_ created_at'
\o agent_passages.jsonl
:rows \gexec

\set table passages
\set columns 'id agent_id source_id file_id doc_id text metadata_ created_at'
\o passages.jsonl
:rows \gexec

\set table source_passages
\set columns 'id source_id file_id file_name text created_at'
\o source_passages.jsonl
:rows \gexec

\set table sources
\set columns 'id name description instructions'
\o sources.jsonl
:rows \gexec

\set table sources_agents
\set columns 'agent_id source_id'
\o sources_agents.jsonl
:rows \gexec

\set table agent_source_mapping
\set columns 'agent_id source_id'
\o agent_source_mapping.jsonl
:rows \gexec

\set table files
\set columns 'id source_id file_name original_file_name file_type created_at'
\o files.jsonl
:rows \gexec

\set table file_contents
\set columns 'file_id text'
\o file_contents.jsonl
:rows \gexec

\set table tools
\set columns 'id name tool_type source_type source_code json_schema'
\o tools.jsonl
:rows \gexec

\set table tools_agents
\set columns 'agent_id tool_id'
\o tools_agents.jsonl
:rows \gexec

\set table groups
\set columns 'id manager_type manager_agent_id'
\o groups.jsonl
:rows \gexec

\set table groups_agents
\set columns 'group_id agent_id'
\o groups_agents.jsonl
:rows \gexec

\set table identities
\set columns 'id identifier_key name identity_type'
\o identities.jsonl
:rows \gexec

\set table identities_agents
\set columns 'identity_id agent_id'
\o identities_agents.jsonl
:rows \gexec

-- Written last: without this file, or with other numbers, a dump is incomplete.
\o counts.jsonl
\set table agents
:count \gexec
\set table agents_tags
:count \gexec
\set table block
:count \gexec
\set table blocks_agents
:count \gexec
\set table blocks_conversations
:count \gexec
\set table messages
:count \gexec
\set table conversations
:count \gexec
\set table conversation_messages
:count \gexec
\set table archives
:count \gexec
\set table archives_agents
:count \gexec
\set table archival_passages
:count \gexec
\set table agent_passages
:count \gexec
\set table passages
:count \gexec
\set table source_passages
:count \gexec
\set table sources
:count \gexec
\set table sources_agents
:count \gexec
\set table agent_source_mapping
:count \gexec
\set table files
:count \gexec
\set table file_contents
:count \gexec
\set table tools
:count \gexec
\set table tools_agents
:count \gexec
\set table groups
:count \gexec
\set table groups_agents
:count \gexec
\set table identities
:count \gexec
\set table identities_agents
:count \gexec
\o
COMMIT;
