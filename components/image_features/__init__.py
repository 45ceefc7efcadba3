"""ImageFeatures: pictures through the frozen encoder, each distinct one once, ever."""
