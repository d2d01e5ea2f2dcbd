"""Network between replicas, memories and stores: links whose bandwidth concurrent transfers share."""
