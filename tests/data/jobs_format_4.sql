BEGIN TRANSACTION;
CREATE TABLE callbacks (
    id text primary key,
    job_id text not null,
    user text not null,
    url text not null,
    record text not null,
    attempts integer not null default 0,
    due_at real,
    answer text not null default ''
);
INSERT INTO "callbacks" VALUES('98c0b70416d09cf8684af252c6d43f2a','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','ann','https://example.org/hook','{"number": 1, "id": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "user": "ann", "state": "finished", "settings": "{\"model\": \"mouth-motion\", \"container\": \"mp4\"}", "video_name": "in.mp4", "audio_name": "in.wav", "created_at": 1796024536.3719552, "started_at": 1796024536.4026535, "ended_at": 1796024536.4197543, "stage": "starting", "stage_started_at": 1796024536.4026546, "frames": 0, "total_frames": null, "attempts": 1, "error": null, "report": "{\"frames\": 3, \"seconds\": 6.0, \"duration_s\": 2.0, \"warnings\": []}", "deleted": 0, "revision": 3, "duration_s": 4.0, "idempotency_key": null, "fingerprint": null, "callback_url": "https://example.org/hook", "sources": null, "fetching": 0, "furthest": 0, "voices": null}',0,1.79602453642071604729e+09,'');
CREATE TABLE jobs (
    id text primary key,
    user text not null,
    state text not null,
    settings text not null,
    video_name text not null,
    audio_name text not null,
    created_at real not null,
    started_at real,
    ended_at real,
    stage text not null default '',
    stage_started_at real,
    frames integer not null default 0,
    total_frames integer,
    attempts integer not null default 0,
    error text,
    report text,
    deleted integer not null default 0,
    revision integer not null,
    duration_s real,
    idempotency_key text,
    fingerprint text,
    callback_url text,
    sources text,
    fetching integer not null default 0,
    furthest integer not null default 0,
    voices text
);
INSERT INTO "jobs" VALUES('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','ann','finished','{"model": "mouth-motion", "container": "mp4"}','in.mp4','in.wav',1.79602453637195515635e+09,1.79602453640265345572e+09,1.79602453641975426672e+09,'starting',1.79602453640265464782e+09,0,NULL,1,NULL,'{"frames": 3, "seconds": 6.0, "duration_s": 2.0, "warnings": []}',0,3,4.0,NULL,NULL,'https://example.org/hook',NULL,0,0,NULL);
INSERT INTO "jobs" VALUES('bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','ann','running','{"model": "mouth-motion", "container": "mp4"}','in.mp4','in.wav',1.79602453643817257886e+09,1.79602453644712543485e+09,NULL,'lip-syncing',1.79602453647417306895e+09,50,100,1,NULL,NULL,0,7,4.0,'k','f',NULL,NULL,0,0,NULL);
INSERT INTO "jobs" VALUES('cccccccccccccccccccccccccccccccc','ann','queued','{"model": "mouth-motion", "container": "mp4"}','in.mp4','in.wav',1.79602453650786805152e+09,NULL,NULL,'',NULL,0,NULL,0,NULL,NULL,0,8,4.0,NULL,NULL,NULL,NULL,0,0,NULL);
INSERT INTO "jobs" VALUES('dddddddddddddddddddddddddddddddd','bob','queued','{"model": "mouth-motion", "container": "mp4"}','in.mp4','in.wav',1.79602453655330300333e+09,NULL,NULL,'fetching',NULL,0,NULL,0,NULL,NULL,0,9,4.0,NULL,NULL,NULL,'{"video_url": "https://e.org/v"}',1,0,'{"voice_1": "v.wav"}');
INSERT INTO "jobs" VALUES('eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','bob','cancelling','{"model": "mouth-motion", "container": "mp4"}','in.mp4','in.wav',1.7960245365905447006e+09,1.79602453663592052457e+09,NULL,'starting',1.79602453663592171667e+09,0,NULL,1,NULL,NULL,0,12,4.0,NULL,NULL,NULL,NULL,0,0,NULL);
INSERT INTO "jobs" VALUES('ffffffffffffffffffffffffffffffff','bob','failed','{"model": "mouth-motion", "container": "mp4"}','in.mp4','in.wav',1.79602453667448139183e+09,NULL,1.79602453669203662874e+09,'',NULL,0,NULL,0,'{"title": "t", "detail": "d", "user_message": "u"}',NULL,0,14,4.0,NULL,NULL,NULL,NULL,0,0,NULL);
CREATE TABLE totals (
    state text primary key,
    jobs integer not null default 0,
    frames integer not null default 0,
    seconds real not null default 0
);
INSERT INTO "totals" VALUES('finished',1,3,6.0);
INSERT INTO "totals" VALUES('failed',1,0,0.0);
CREATE INDEX jobs_by_user on jobs (user, created_at);
CREATE INDEX jobs_by_revision on jobs (revision);
CREATE UNIQUE INDEX jobs_by_key on jobs (user, idempotency_key) where idempotency_key is not null;
CREATE INDEX callbacks_by_job on callbacks (job_id);
COMMIT;
pragma user_version = 4;
