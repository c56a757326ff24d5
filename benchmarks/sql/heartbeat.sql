-- One row whose number, once seen on the target, says that everything before it has arrived.
CREATE TABLE public.heartbeat (id int PRIMARY KEY, beat bigint NOT NULL);
INSERT INTO public.heartbeat VALUES (1, 0);
