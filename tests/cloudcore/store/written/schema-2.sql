--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: log; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.log (
    rev bigint NOT NULL,
    resource text NOT NULL COLLATE pg_catalog."C",
    ns text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    uid text NOT NULL,
    prev_rev bigint,
    prev bytea,
    after bytea,
    final bytea
);


--
-- Name: marks; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.marks (
    writer text NOT NULL,
    number bigint NOT NULL,
    at timestamp with time zone NOT NULL
);


--
-- Name: meta; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.meta (
    id integer NOT NULL,
    schema integer NOT NULL,
    epoch text NOT NULL,
    file text NOT NULL,
    rev bigint NOT NULL,
    compacted bigint NOT NULL,
    record_number bigint NOT NULL
);


--
-- Name: objects; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.objects (
    resource text NOT NULL COLLATE pg_catalog."C",
    ns text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    uid text NOT NULL,
    rev bigint NOT NULL,
    body bytea NOT NULL
);


--
-- Name: outboxes; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.outboxes (
    node text NOT NULL,
    incarnation text NOT NULL,
    session bigint NOT NULL,
    received text NOT NULL
);


--
-- Name: records; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.records (
    number bigint NOT NULL,
    series text NOT NULL COLLATE pg_catalog."C",
    at_ms bigint NOT NULL,
    body bytea NOT NULL
);


--
-- Data for Name: log; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.log VALUES (1, 'pods', 'default', 'a', 'u', NULL, NULL, '\x7b226d65746164617461223a7b227265736f7572636556657273696f6e223a2231222c226e616d65223a2261227d7d', NULL);


--
-- Data for Name: marks; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.marks VALUES ('cd613e30-d8f1-4adf-91b7-584a2265b1f5', 6, '2026-11-28 05:29:45.400871+00');


--
-- Data for Name: meta; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.meta VALUES (1, 2, '1e2feb89-414c-443c-9027-c4d1c386bbc4', '7713090324539525556/00000001/16384/16392', 1, 0, 7);


--
-- Data for Name: objects; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.objects VALUES ('pods', 'default', 'a', 'u', 1, '\x7b226d65746164617461223a7b227265736f7572636556657273696f6e223a2231222c226e616d65223a2261227d7d');


--
-- Data for Name: outboxes; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.outboxes VALUES ('eu-1', '7f3a', 1, '1-7;1-4,6-7');


--
-- Data for Name: records; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.records VALUES (1, 'default/plc/t', 1790000001000, '\x7b22646576696365223a207b226e616d657370616365223a202264656661756c74222c20226e616d65223a2022706c63222c2022756964223a202275227d2c202270726f70223a202274222c2022736571223a20312c202276616c7565223a202231222c202274797065223a2022494e54222c202271223a2022676f6f64222c20226e6f6465223a202265752d31227d');
INSERT INTO public.records VALUES (2, 'default/plc/t', 1790000002000, '\x7b22646576696365223a207b226e616d657370616365223a202264656661756c74222c20226e616d65223a2022706c63222c2022756964223a202275227d2c202270726f70223a202274222c2022736571223a20322c202276616c7565223a202232222c202274797065223a2022494e54222c202271223a2022676f6f64222c20226e6f6465223a202265752d31227d');
INSERT INTO public.records VALUES (3, 'default/plc/t', 1790000006000, '\x7b22646576696365223a207b226e616d657370616365223a202264656661756c74222c20226e616d65223a2022706c63222c2022756964223a202275227d2c202270726f70223a202274222c2022736571223a20362c202276616c7565223a202236222c202274797065223a2022494e54222c202271223a2022676f6f64222c20226e6f6465223a202265752d31227d');
INSERT INTO public.records VALUES (4, 'default/plc/t', 1790000007000, '\x7b22646576696365223a207b226e616d657370616365223a202264656661756c74222c20226e616d65223a2022706c63222c2022756964223a202275227d2c202270726f70223a202274222c2022736571223a20372c202276616c7565223a202237222c202274797065223a2022494e54222c202271223a2022676f6f64222c20226e6f6465223a202265752d31227d');
INSERT INTO public.records VALUES (5, 'default/plc/t', 1790000003000, '\x7b22646576696365223a207b226e616d657370616365223a202264656661756c74222c20226e616d65223a2022706c63222c2022756964223a202275227d2c202270726f70223a202274222c2022736571223a20332c202276616c7565223a202233222c202274797065223a2022494e54222c202271223a2022676f6f64222c20226e6f6465223a202265752d31227d');
INSERT INTO public.records VALUES (6, 'default/plc/t', 1790000004000, '\x7b22646576696365223a207b226e616d657370616365223a202264656661756c74222c20226e616d65223a2022706c63222c2022756964223a202275227d2c202270726f70223a202274222c2022736571223a20342c202276616c7565223a202234222c202274797065223a2022494e54222c202271223a2022676f6f64222c20226e6f6465223a202265752d31227d');
INSERT INTO public.records VALUES (7, 'traffic:eu-1', 1790000000000, '\x7b7d');


--
-- Name: log log_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.log
    ADD CONSTRAINT log_pkey PRIMARY KEY (rev);


--
-- Name: marks marks_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.marks
    ADD CONSTRAINT marks_pkey PRIMARY KEY (writer);


--
-- Name: meta meta_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (id);


--
-- Name: objects objects_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.objects
    ADD CONSTRAINT objects_pkey PRIMARY KEY (resource, ns, name);


--
-- Name: outboxes outboxes_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.outboxes
    ADD CONSTRAINT outboxes_pkey PRIMARY KEY (node, incarnation);


--
-- Name: records records_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.records
    ADD CONSTRAINT records_pkey PRIMARY KEY (number);


--
-- Name: log_by_key; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX log_by_key ON public.log USING btree (resource, ns, name, rev);


--
-- Name: records_by_series; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX records_by_series ON public.records USING btree (series, number);


--
-- Name: records_by_time; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX records_by_time ON public.records USING btree (at_ms);


--
-- PostgreSQL database dump complete
--


