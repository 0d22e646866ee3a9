"""Many jobs from one file; each run continues where the last ended."""

from client.batch.jobs import BatchJob, count_jobs, read_jobs
from client.batch.report import finished_jobs, is_done, open_report
from client.batch.run import Batch, run_jobs

__all__ = ["Batch", "BatchJob", "count_jobs", "finished_jobs", "is_done", "open_report", "read_jobs", "run_jobs"]
