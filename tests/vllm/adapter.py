"""What a checker of recorded decision sequences loads."""

from profile_engine import vllm_case

__all__ = ["vllm_case"]
